//! Rows of a batch: an example each, padded, or several of them one behind the other, packed.
//!
//! Attention respects the borders and every example begins at position 0, so that packing changes no loss: it only leaves
//! less room empty. Who stands together is decided once, before the first step, from the lengths alone.

use cloche_models::Pass;
use cloche_tensor::{DType, Graph, Program, Tensor};

use crate::examples::{Example, Rows};

/// How full rows are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filling {
    /// Examples.
    pub examples: usize,
    /// Their tokens that are read.
    pub tokens: usize,
    /// Rows that hold them.
    pub rows: usize,
    /// Tokens that a row has room for.
    pub width: usize,
    /// Tokens that a row for a single example needs room for.
    pub padded_width: usize,
}

impl Filling {
    /// The share of all rows that is empty.
    pub fn padding(&self) -> f32 {
        1.0 - self.tokens as f32 / (self.rows * self.width) as f32
    }

    /// The share that is empty where each example has a row of its own.
    pub fn padding_apart(&self) -> f32 {
        1.0 - self.tokens as f32 / (self.examples * self.padded_width) as f32
    }
}

/// Examples, and which of them share a row.
pub(crate) struct Table {
    pub examples: Vec<Example>,
    /// The examples of each row; where there is nothing, each has a row of its own.
    packed: Option<Vec<Vec<usize>>>,
}

impl Table {
    /// Each example in a row of its own, or packed in rows of this width.
    pub fn new(examples: Vec<Example>, packing: Option<usize>) -> Table {
        let lengths = || examples.iter().map(read_tokens).collect::<Vec<_>>();
        let packed = packing.map(|width| pack(&lengths(), width));
        Table { examples, packed }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.packed.as_ref().map_or(self.examples.len(), Vec::len)
    }

    /// The examples of a row.
    pub fn row(&self, row: usize) -> Vec<&Example> {
        match &self.packed {
            Some(packed) => packed[row].iter().map(|&at| &self.examples[at]).collect(),
            None => vec![&self.examples[row]],
        }
    }
}

/// How full the rows of several tables are together.
pub(crate) fn filling<'a>(
    tables: impl Iterator<Item = &'a Table>,
    [width, padded_width]: [usize; 2],
) -> Filling {
    let mut filling = Filling { examples: 0, tokens: 0, rows: 0, width, padded_width };
    for table in tables {
        filling.examples += table.examples.len();
        filling.tokens += table.examples.iter().map(read_tokens).sum::<usize>();
        filling.rows += table.rows();
    }
    filling
}

/// The last token is only predicted, never read.
fn read_tokens(example: &Example) -> usize {
    example.ids.len() - 1
}

/// Puts every length into a row of this width: the longest first, each into the fullest row that has room for it, or into
/// a new one. Such a best fit decreasing needs at most 11/9 of the fewest rows, and four (Johnson 1973, "Near-optimal bin
/// packing algorithms").
fn pack(lengths: &[usize], width: usize) -> Vec<Vec<usize>> {
    // By length and by the room that is left: small numbers both, so that lists do for a sort and a search.
    let mut by_length: Vec<Vec<usize>> = vec![Vec::new(); width + 1];
    lengths.iter().enumerate().for_each(|(at, &length)| by_length[length].push(at));
    let mut by_room: Vec<Vec<usize>> = vec![Vec::new(); width + 1];
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for (length, those) in by_length.iter().enumerate().rev() {
        for &at in those {
            let fullest = (length..=width).find_map(|room| Some((room, by_room[room].pop()?)));
            let (room, row) = fullest.unwrap_or_else(|| {
                rows.push(Vec::new());
                (width, rows.len() - 1)
            });
            rows[row].push(at);
            by_room[room - length].push(row);
        }
    }
    rows
}

/// Rows as a program reads them.
pub(crate) struct Batch {
    pub rows: Rows,
    documents: Option<Documents>,
}

/// Where examples stand in packed rows, `(B, T)` each.
struct Documents {
    /// Where in its row the example of a position begins.
    begin: Vec<u32>,
    /// Where in the example the position is.
    position: Vec<u32>,
}

impl Batch {
    /// Empty rows.
    pub fn new((rows, width): (usize, usize), packing: bool) -> Batch {
        let zeros = || vec![0; rows * width];
        let documents = packing.then(|| Documents { begin: zeros(), position: zeros() });
        Batch { rows: Rows::new(rows, width), documents }
    }

    /// Records what programs read of rows: tokens and targets, `(B, T)` each, and how a pass sees them.
    pub fn record(graph: &Graph, shape: (usize, usize), packing: bool, pass: Pass) -> (Tensor, Tensor, Pass) {
        let input = |name| graph.input(name, shape, DType::U32); // (B, T)
        let (x, y) = (input("x"), input("y"));
        let pass = if packing { pass.documents(&input("begin"), &input("position")) } else { pass };
        (x, y, pass)
    }

    /// Fills row after row, and empties those that are left. Returns how many targets there are.
    pub fn fill<'a>(&mut self, rows: impl Iterator<Item = Vec<&'a Example>>) -> usize {
        self.rows.clear();
        let width = self.rows.width;
        if let Some(documents) = &mut self.documents {
            documents.begin.fill(0);
            (0..).zip(&mut documents.position).for_each(|(i, p)| *p = i % width as u32);
        }
        let mut n_targets = 0;
        for (row, examples) in rows.enumerate() {
            let mut first = 0;
            for example in examples {
                n_targets += self.rows.put(row, first, example);
                let next = first + read_tokens(example);
                self.mark(row * width, first..next);
                first = next;
            }
            // What is left is a document of its own.
            self.mark(row * width, first..width);
        }
        n_targets
    }

    /// An example stands in these columns of the row that begins at `start`.
    fn mark(&mut self, start: usize, columns: std::ops::Range<usize>) {
        let Some(Documents { begin, position }) = &mut self.documents else { return };
        let first = columns.start as u32;
        let places = start + columns.start..start + columns.end;
        begin[places.clone()].fill(first);
        (0..).zip(&mut position[places]).for_each(|(i, p)| *p = i);
    }

    /// Hands the rows to a program.
    pub fn write(&self, program: &mut Program) {
        program.write("x", &self.rows.x);
        program.write("y", &self.rows.y);
        if let Some(Documents { begin, position }) = &self.documents {
            program.write("begin", begin);
            program.write("position", position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloche_tensor::rng::Rng;

    fn example(n: usize) -> Example {
        Example { ids: (0..=n as u32).collect(), learn: vec![true; n + 1] }
    }

    #[test]
    fn every_example_has_a_place_and_few_rows_suffice() {
        assert_eq!(pack(&[3, 5, 2, 4, 6], 10), [vec![4, 3], vec![1, 0, 2]]);
        let mut rng = Rng::new(1, 0);
        let lengths: Vec<usize> = (0..1000).map(|_| 1 + rng.below(64) as usize).collect();
        let rows = pack(&lengths, 64);
        let mut all: Vec<usize> = rows.concat();
        all.sort();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        let used = |row: &Vec<usize>| row.iter().map(|&at| lengths[at]).sum::<usize>();
        assert!(rows.iter().all(|row| used(row) <= 64));
        let fewest = lengths.iter().sum::<usize>().div_ceil(64);
        assert!(rows.len() * 9 <= fewest * 11 + 36, "{} rows, at least {fewest}", rows.len());
    }

    #[test]
    fn rows_say_where_examples_begin() {
        let table = Table::new([3, 2, 4].map(example).into(), Some(6));
        assert_eq!(table.rows(), 2);
        let mut batch = Batch::new((3, 6), true);
        assert_eq!(batch.fill((0..2).map(|row| table.row(row))), 9);
        assert_eq!(batch.rows.x[..12], [0, 1, 2, 3, 0, 1, 0, 1, 2, 0, 0, 0]);
        let documents = batch.documents.as_ref().unwrap();
        assert_eq!(documents.begin, [0, 0, 0, 0, 4, 4, 0, 0, 0, 3, 3, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(documents.position, [0, 1, 2, 3, 0, 1, 0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5]);
        let filling = filling([&table].into_iter(), [6, 8]);
        assert_eq!((filling.padding(), filling.padding_apart()), (0.25, 0.625));
    }
}
