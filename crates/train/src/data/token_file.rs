//! Ids in a file: written once while a text streams by, read at any place afterwards.
//!
//! The file is a header of 24 bytes and the ids, all little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 0 … 7 | `CLOCHEID` |
//! | 8 … 11 | bytes of one id: 2 or 4 |
//! | 12 … 15 | size of the vocabulary |
//! | 16 … 23 | number of ids |

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{DataError, TokenSink, Tokens, assert_in_vocabulary};

const MAGIC: &[u8; 8] = b"CLOCHEID";
const HEADER_BYTES: u64 = 24;

/// Ids in a file, which is read where it is asked to be and never held whole.
#[derive(Debug)]
pub struct TokenFile {
    file: File,
    path: PathBuf,
    width: usize,
    vocab_size: usize,
    len: usize,
}

impl TokenFile {
    /// Opens a file that a [`TokenWriter`] has finished.
    ///
    /// # Errors
    ///
    /// [`DataError::TokenFile`] where it is another kind of file or has been cut off, [`DataError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<TokenFile, DataError> {
        let path = path.as_ref();
        let wrong = |found: String, expected: String| {
            Err(DataError::TokenFile { path: path.to_path_buf(), found, expected })
        };
        let file = File::open(path).map_err(DataError::io(path))?;
        let bytes = file.metadata().map_err(DataError::io(path))?.len();
        if bytes < HEADER_BYTES {
            return wrong(format!("{bytes} bytes"), format!("a header of {HEADER_BYTES}"));
        }
        let mut header = [0; HEADER_BYTES as usize];
        read_at(&file, &mut header, 0).map_err(DataError::io(path))?;
        if header[..8] != *MAGIC {
            return wrong(
                format!("begins with {:?}", header[..8].escape_ascii().to_string()),
                "CLOCHEID".into(),
            );
        }
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (width, vocab_size) = (word(8) as u64, word(12) as usize);
        let count = word(16) as u64 | (word(20) as u64) << 32;
        if width != id_width(vocab_size) as u64 {
            return wrong(format!("ids of {width} bytes"), format!("{} bytes", id_width(vocab_size)));
        }
        if count.checked_mul(width) != Some(bytes - HEADER_BYTES) {
            return wrong(
                format!("{} bytes of ids", bytes - HEADER_BYTES),
                format!("{count} ids of {width} bytes"),
            );
        }
        Ok(TokenFile {
            file,
            path: path.to_path_buf(),
            width: width as usize,
            vocab_size,
            len: count as usize,
        })
    }

    /// Size of the vocabulary that the ids belong to.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

impl Tokens for TokenFile {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, start: usize, out: &mut [u32]) -> Result<(), DataError> {
        let end = start + out.len();
        assert!(end <= self.len, "read tokens {start} up to {end} of {}", self.len);
        let mut bytes = vec![0; out.len() * self.width];
        let offset = HEADER_BYTES + start as u64 * self.width as u64;
        read_at(&self.file, &mut bytes, offset).map_err(DataError::io(&self.path))?;
        for (out, id) in out.iter_mut().zip(bytes.chunks_exact(self.width)) {
            *out = id.iter().rev().fold(0, |high, &byte| high << 8 | byte as u32);
        }
        // The file is from outside: an id beyond the vocabulary would read beyond the embedding.
        match out.iter().position(|&id| id as usize >= self.vocab_size) {
            None => Ok(()),
            Some(i) => Err(DataError::TokenFile {
                path: self.path.clone(),
                found: format!("id {} at token {}", out[i], start + i),
                expected: format!("ids below {}", self.vocab_size),
            }),
        }
    }
}

/// Writes ids to a file as they come.
///
/// They go to `PATH.partial`, which becomes `PATH` when all is written, so a run that breaks off leaves no file that
/// looks complete; a writer that is dropped before leaves none.
#[derive(Debug)]
pub struct TokenWriter {
    out: BufWriter<File>,
    path: PathBuf,
    partial: PathBuf,
    vocab_size: usize,
    count: u64,
}

impl TokenWriter {
    /// Begins a file for the ids of a vocabulary.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`].
    pub fn create(path: impl AsRef<Path>, vocab_size: usize) -> Result<TokenWriter, DataError> {
        let path = path.as_ref().to_path_buf();
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(DataError::io(&partial))?;
        let mut writer =
            TokenWriter { out: BufWriter::with_capacity(1 << 16, file), path, partial, vocab_size, count: 0 };
        // The count is not known yet; `finish` writes the header again.
        let header = writer.header();
        writer.write(&header)?;
        Ok(writer)
    }

    /// Writes what is left and gives the file its name.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`].
    pub fn finish(mut self) -> Result<TokenFile, DataError> {
        self.close().map_err(DataError::io(&self.partial))?;
        TokenFile::open(&self.path)
    }

    fn close(&mut self) -> std::io::Result<()> {
        let header = self.header();
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        std::fs::rename(&self.partial, &self.path)
    }

    fn header(&self) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&(id_width(self.vocab_size) as u32).to_le_bytes());
        header[12..16].copy_from_slice(&(self.vocab_size as u32).to_le_bytes());
        header[16..].copy_from_slice(&self.count.to_le_bytes());
        header
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.out.write_all(bytes).map_err(DataError::io(&self.partial))
    }
}

impl Drop for TokenWriter {
    fn drop(&mut self) {
        // Where all was written, nothing has this name any more.
        let _ = std::fs::remove_file(&self.partial);
    }
}

impl TokenSink for TokenWriter {
    fn extend(&mut self, ids: &[u32]) -> Result<(), DataError> {
        assert_in_vocabulary(ids, self.vocab_size);
        let width = id_width(self.vocab_size);
        let mut bytes = Vec::with_capacity(ids.len() * width);
        ids.iter().for_each(|id| bytes.extend_from_slice(&id.to_le_bytes()[..width]));
        self.write(&bytes)?;
        self.count += ids.len() as u64;
        Ok(())
    }
}

/// Bytes that one id takes.
fn id_width(vocab_size: usize) -> usize {
    if vocab_size <= 1 << 16 { 2 } else { 4 }
}

/// Fills `out` from `offset` on, without a cursor that two readers could disturb for each other.
#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

/// The same on Windows, where one call may read less than it was asked for.
#[cfg(windows)]
fn read_at(file: &File, mut out: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => {
                out = &mut out[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &Path, ids: &[u32], vocab_size: usize) -> TokenFile {
        let mut writer = TokenWriter::create(path, vocab_size).unwrap();
        for part in ids.chunks(7) {
            writer.extend(part).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn ids_come_back_from_any_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids");
        for vocab_size in [300, 1 << 16, 100_000] {
            let ids: Vec<u32> = (0..1000).map(|i| i * 7919 % vocab_size as u32).collect();
            let file = written(&path, &ids, vocab_size);
            assert_eq!((file.len(), file.vocab_size()), (1000, vocab_size));
            for (start, len) in [(0, 1000), (999, 1), (123, 64), (1000, 0)] {
                let mut out = vec![0; len];
                file.read(start, &mut out).unwrap();
                assert_eq!(out, ids[start..start + len]);
            }
        }
        assert!(!folder.path().join("ids.partial").exists());
    }

    #[test]
    fn an_unfinished_file_does_not_get_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids");
        let mut writer = TokenWriter::create(&path, 10).unwrap();
        writer.extend(&[1, 2, 3]).unwrap();
        drop(writer);
        assert!(matches!(TokenFile::open(&path), Err(DataError::Io { .. })));
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids");
        written(&path, &[1, 2, 3, 4], 10);
        let good = std::fs::read(&path).unwrap();
        let message = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            match TokenFile::open(&path) {
                Err(error) => error.to_string(),
                Ok(file) => file.read(0, &mut vec![0; file.len()]).unwrap_err().to_string(),
            }
        };
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let cases = [
            (good[..10].to_vec(), "10 bytes, expected a header of 24"),
            (changed(0, b'X'), "begins with \"XLOCHEID\", expected CLOCHEID"),
            (changed(8, 4), "ids of 4 bytes, expected 2 bytes"),
            (good[..good.len() - 1].to_vec(), "7 bytes of ids, expected 4 ids of 2 bytes"),
            (changed(23, 255), "8 bytes of ids, expected 18374686479671623684 ids of 2 bytes"),
            (changed(28, 10), "id 10 at token 2, expected ids below 10"),
        ];
        for (bytes, expected) in cases {
            let found = message(&bytes);
            assert!(found.ends_with(expected), "{found}, expected {expected}");
            assert!(found.starts_with("token file ") && found.contains("ids"), "{found}");
        }
    }
}
