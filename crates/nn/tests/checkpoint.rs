//! Checkpoints from the outside world: what is written is read, and what is broken is refused by name.

use cloche_nn::checkpoint::{Checkpoint, CheckpointError, Extras, MAX_TENSORS, Mismatch, NamedTensor, write};

/// A safetensors file of this header and this many bytes of zeros.
fn file(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 0);
    bytes
}

fn open(bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(vec![("model.safetensors".into(), bytes)])
}

fn message<T: std::fmt::Debug>(result: Result<T, CheckpointError>) -> String {
    result.expect_err("this must be refused").to_string()
}

/// Three small tensors whose values are 0, 1, 2, …
fn sample(shard_bytes: Option<usize>) -> Vec<(String, Vec<u8>)> {
    let data: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let tensors = [
        NamedTensor::new("transformer.wte.weight", &[4, 3], &data[..12]),
        NamedTensor::new("transformer.h.0.attn.c_attn.weight", &[3, 2], &data[12..18]),
        NamedTensor::new("transformer.ln_f.weight", &[6], &data[18..]),
    ];
    write(&tensors, &[("seed", "7")], shard_bytes).unwrap()
}

fn specs(list: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
    list.iter().map(|(path, shape)| (path.to_string(), shape.to_vec())).collect()
}

#[test]
fn what_is_written_is_read_whole_or_in_shards() {
    for (shard_bytes, n_files) in [(None, 1), (Some(1 << 20), 1), (Some(60), 3), (Some(1), 4)] {
        let files = sample(shard_bytes);
        assert_eq!(files.len(), n_files, "shards of {shard_bytes:?} bytes");
        assert_eq!(files, sample(shard_bytes), "the same tensors give the same bytes");
        let mut checkpoint = Checkpoint::from_bytes(files).unwrap();
        assert_eq!(checkpoint.names().count(), 3);
        assert_eq!(checkpoint.metadata("format"), Some("pt"));
        assert_eq!(checkpoint.metadata("seed"), Some("7"));
        assert_eq!(checkpoint.shape("transformer.wte.weight"), Some([4, 3].as_slice()));
        let (shape, data) = checkpoint.tensor("transformer.h.0.attn.c_attn.weight").unwrap();
        assert_eq!((shape, data), (vec![3, 2], vec![12.0, 13.0, 14.0, 15.0, 16.0, 17.0]));
    }
}

#[test]
fn a_folder_is_read_by_range() {
    let folder = std::env::temp_dir().join(format!("cloche-checkpoint-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in sample(Some(60)) {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    std::fs::write(folder.join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
    let data = Checkpoint::open_folder(&folder).unwrap().tensor("transformer.ln_f.weight").unwrap().1;
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(data, [18.0, 19.0, 20.0, 21.0, 22.0, 23.0]);
    assert!(matches!(Checkpoint::open_folder(&folder), Err(CheckpointError::Io { .. })));
}

#[test]
fn half_precision_is_widened_and_ids_are_read() {
    let header = r#"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},
        "b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},
        "i":{"dtype":"I32","shape":[1,2],"data_offsets":[8,16]}}"#;
    let mut bytes = file(header, 0);
    bytes.extend([0x00, 0x3e, 0x00, 0xc0]); // 1.5 and −2 in f16
    bytes.extend([0xc0, 0x3f, 0x00, 0xc0]); // 1.5 and −2 in bf16
    bytes.extend([5i32.to_le_bytes(), (-1i32).to_le_bytes()].concat());
    let mut checkpoint = open(bytes).unwrap();
    assert_eq!(checkpoint.tensor("h").unwrap().1, [1.5, -2.0]);
    assert_eq!(checkpoint.tensor("b").unwrap().1, [1.5, -2.0]);
    assert_eq!(checkpoint.ids("i").unwrap(), (vec![1, 2], vec![5, -1]));
    assert_eq!(message(checkpoint.tensor("i")), r#"tensor "i": file has I32, needed is F32, F16 or BF16"#);
    assert_eq!(message(checkpoint.tensor("j")), r#"tensor "j" is not there"#);
}

#[test]
fn broken_headers_are_refused_by_name() {
    let tensor = |offsets: &str, shape: &str, dtype: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let twice = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let overlap = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let hole = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    let metadata_twice = r#"{"__metadata__":{"a":"1","a":"2"}}"#;
    let bomb: Vec<String> = (0..=MAX_TENSORS)
        .map(|i| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let huge = "[4294967296,4294967296,4294967296]";
    let deep = format!("{{\"w\":{}", "[".repeat(100_000));
    for (what, bytes, expected) in [
        ("empty", vec![], "0 bytes, a header needs at least 8"),
        ("no header", vec![4, 0, 0], "3 bytes, a header needs at least 8"),
        ("header beyond the file", file(&tensor("[0,4]", "[1]", "F32"), 0)[..20].to_vec(), "truncated"),
        ("header bomb", (1u64 << 40).to_le_bytes().to_vec(), "at most 10000000 are read"),
        ("largest length", vec![0xff; 16], "at most 10000000 are read"),
        ("not JSON", file("tensors", 0), "header: expected"),
        ("not UTF-8", [&2u64.to_le_bytes()[..], &[b'{', 0xff]].concat(), "header:"),
        ("nested", file(&deep, 0), "header:"),
        ("truncated", file(&tensor("[0,8]", "[2]", "F32"), 7), "truncated: 69 bytes, the header needs 70"),
        ("trailing", file(&tensor("[0,8]", "[2]", "F32"), 9), "1 bytes after the last tensor"),
        ("short range", file(&tensor("[0,4]", "[2]", "F32"), 4), "invalid shape, data type, or offset"),
        ("reversed range", file(&tensor("[8,0]", "[2]", "F32"), 8), "invalid offset"),
        ("negative size", file(&tensor("[0,8]", "[-2]", "F32"), 8), "header: invalid value"),
        ("overflow", file(&tensor("[0,8]", huge, "F32"), 8), "overflow"),
        ("unknown dtype", file(&tensor("[0,8]", "[2]", "F7"), 8), "unknown variant `F7`"),
        ("key twice", file(twice, 4), r#"key "w" occurs twice"#),
        ("metadata key twice", file(metadata_twice, 0), r#"key "a" occurs twice"#),
        ("overlap", file(overlap, 4), "invalid offset"),
        ("hole", file(hole, 12), "invalid offset"),
        ("tensor bomb", file(&format!("{{{}}}", bomb.join(",")), 0), "more than 20000 tensors"),
    ] {
        let error = open(bytes).expect_err(what);
        assert!(matches!(error, CheckpointError::Malformed { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(expected), "{what}: {error}, expected …{expected}…");
    }
}

#[test]
fn pickles_are_refused_with_the_way_out() {
    let named = Checkpoint::from_bytes(vec![("pytorch_model.bin".into(), vec![0; 100])]);
    let zip = open(b"PK\x03\x04 and the rest of a zip archive".to_vec());
    let bare = open(b"\x80\x02}q\x00(X\x06\x00\x00\x00".to_vec());
    for refused in [named, zip, bare] {
        let text = message(refused);
        assert!(text.contains("is a pickle") && text.contains("model.safetensors"), "{text}");
    }
    assert_eq!(message(Checkpoint::from_bytes(vec![])), "model.safetensors is not there");
    // A header of 640 bytes begins with the very bytes of a pickle of protocol 2.
    let header = format!("{:640}", r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#);
    assert!(file(&header, 4).starts_with(b"\x80\x02") && open(file(&header, 4)).is_ok());
}

#[test]
fn shards_must_agree_with_their_index() {
    let shards = || sample(Some(60));
    let with_index = |index: &str| {
        let mut files = shards();
        files.last_mut().unwrap().1 = index.as_bytes().to_vec();
        message(Checkpoint::from_bytes(files))
    };
    assert!(
        with_index(r#"{"weight_map":{"w":"model-00001-of-00002.safetensors"}}"#).contains("places tensor")
    );
    assert!(with_index(r#"{"weight_map":{"w":"../secret.safetensors"}}"#).contains("is not there"));
    assert!(with_index(r#"{"weight_map":{}}"#).contains("names no tensor"));
    assert!(with_index(r#"{"weight_map":{"w":"a","w":"b"}}"#).contains("occurs twice"));
    assert!(with_index("[]").contains("not a valid"));

    let mut lost = shards();
    lost.remove(0);
    assert_eq!(message(Checkpoint::from_bytes(lost)), "model-00001-of-00002.safetensors is not there");
    let mut unlisted = shards();
    unlisted.pop();
    assert!(message(Checkpoint::from_bytes(unlisted)).contains("there is no index"));
    let mut doubled = shards();
    doubled[1].1 = doubled[0].1.clone();
    assert!(message(Checkpoint::from_bytes(doubled)).contains("is in another shard too"));
}

#[test]
fn a_model_learns_of_every_tensor_that_does_not_fit_at_once() {
    let mut checkpoint = Checkpoint::from_bytes(sample(None)).unwrap();
    let needed = specs(&[
        ("transformer.wte.weight", &[4, 3]),
        ("transformer.h.0.attn.c_attn.weight", &[128, 384]),
        ("transformer.wpe.weight", &[8, 3]),
    ]);
    let mut calls = 0;
    let result = checkpoint.load_into(&needed, &Extras::default(), |_, _| calls += 1);
    assert_eq!(
        message(result),
        "tensor \"transformer.h.0.attn.c_attn.weight\": file has (3, 2), model needs (128, 384)\n\
         tensor \"transformer.wpe.weight\": missing from the file, model needs (8, 3)\n\
         tensor \"transformer.ln_f.weight\": file has (6), model has no such parameter"
    );
    assert_eq!(calls, 0, "nothing is loaded from a file that does not fit");
}

#[test]
fn prefixes_buffers_zeros_and_copies_are_understood() {
    let (data, mut zeros, mut head) = ([1.0, 2.0, 3.0, 4.0], [0.0; 2], [1.0, 2.0, 3.0, 4.0]);
    let checkpoint = |zeros: &[f32], head: &[f32]| {
        let tensors = [
            NamedTensor::new("wte.weight", &[2, 2], &data),
            NamedTensor::new("lm_head.weight", &[2, 2], head),
            NamedTensor::new("ln_f.bias", &[2], zeros),
            NamedTensor::new("h.0.attn.bias", &[1, 1, 2, 2], &data),
            NamedTensor::new("h.0.attn.masked_bias", &[], &data[..1]),
        ];
        Checkpoint::from_bytes(write(&tensors, &[], None).unwrap()).unwrap()
    };
    let needed = specs(&[("transformer.wte.weight", &[2, 2])]);
    let extras = Extras {
        zeros: specs(&[("transformer.ln_f.bias", &[2])]),
        copies: vec![("lm_head.weight".into(), "transformer.wte.weight".into())],
    };
    let mut loaded = Vec::new();
    let sink = |path: &str, values| loaded.push((path.to_string(), values));
    checkpoint(&zeros, &head).load_into(&needed, &extras, sink).unwrap();
    assert_eq!(loaded, [("transformer.wte.weight".to_string(), data.to_vec())]);

    (zeros[1], head[0]) = (0.5, 9.0);
    let refused = checkpoint(&zeros, &head).load_into(&needed, &extras, |_, _| ());
    let Err(CheckpointError::Mismatch(problems)) = refused else { panic!("{refused:?}") };
    let bias = Mismatch::NotZero { name: "transformer.ln_f.bias".into() };
    let copy = Mismatch::NotCopy { name: "lm_head.weight".into(), of: "transformer.wte.weight".into() };
    assert_eq!(problems, [bias, copy]);
}

#[test]
fn a_name_written_twice_is_refused() {
    let tensor = NamedTensor::new("w", &[1], &[1.0]);
    assert!(message(write(&[tensor, tensor], &[], None)).contains("two entries \"w\""));
}

/// Ten thousand damaged files: each is refused, or opens and can be read through; none may panic.
#[test]
fn damaged_files_never_panic() {
    let valid = sample(None).remove(0).1;
    let (mut state, mut opened) = (0x9e37_79b9_7f4a_7c15u64, 0);
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..10_000 {
        let mut bytes = valid.clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(5) {
                0 => bytes.truncate(at + 1),
                1 => bytes.insert(at, random(256) as u8),
                2 => bytes[at] ^= 1 << random(8),
                3 => bytes[at] = b"{}[]\",:0123456789"[random(17)],
                _ => bytes[at] = random(256) as u8,
            }
        }
        if let Ok(mut checkpoint) = open(bytes) {
            opened += 1;
            for name in checkpoint.names().map(str::to_string).collect::<Vec<_>>() {
                let _ = checkpoint.tensor(&name);
            }
        }
    }
    assert!(opened > 100, "some damage is harmless, or the test tests nothing: {opened} opened");
}
