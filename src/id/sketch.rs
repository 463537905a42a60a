//! A rateless sketch of a set: enough cells of two sides, subtracted, tell exactly how the sets differ.
//!
//! A symbol goes into the first cell and from there into ever sparser ones, at places that its own hash
//! draws: cell `i` holds it with a chance of about `1 / (1 + i/2)`. Subtracting the other side's cells leaves
//! the symbols that only one side has; a cell with one left gives it away, which frees others. About 1.4
//! cells a difference are enough on average, whatever the size of the sets; some more when there are few.
//! After Yang et al., "Practical Rateless Set Reconciliation", 2024.

use std::collections::BTreeSet;

use crate::limits::SKETCH_CELLS_MAX;

/// One member of a sketched set: a keyed hash of what it stands for.
///
/// # Example
///
/// ```
/// use driftless::id::{Sketch, Symbol};
///
/// let (mut ours, theirs) = (Sketch::new(16), Sketch::new(16));
/// ours.add(Symbol(0x51f1));
/// let told = ours.difference(&theirs);
/// assert_eq!(told.map(|told| told.ours), Some(vec![Symbol(0x51f1)]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub u64);

/// The sum of the symbols at one place of a sketch.
///
/// # Example
///
/// ```
/// use driftless::id::{Sketch, Symbol};
///
/// let mut sketch = Sketch::new(16);
/// sketch.add(Symbol(1));
/// sketch.add(Symbol(2));
/// let first = sketch.cells().first().map(|cell| (cell.sum, cell.count));
/// assert_eq!(first, Some((1 ^ 2, 2)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// All symbols, by exclusive or.
    pub sum: u64,
    /// A second hash of each, by exclusive or: tells one symbol from a sum of several.
    pub check: u32,
    /// How many there are. Only differences are read, and those that are read are small: it may wrap.
    pub count: i8,
}

/// The first cells of a set.
///
/// # Example
///
/// ```
/// use driftless::id::{Sketch, Symbol};
///
/// let (mut ours, mut theirs) = (Sketch::new(64), Sketch::new(64));
/// [1, 2, 3].map(|both| (ours.add(Symbol(both)), theirs.add(Symbol(both))));
/// ours.add(Symbol(4));
/// theirs.add(Symbol(5));
/// let told = ours.difference(&theirs);
/// assert_eq!(told.map(|told| (told.ours, told.theirs)), Some((vec![Symbol(4)], vec![Symbol(5)])));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    cells: Vec<Cell>,
}

/// How two sets differ.
///
/// # Example
///
/// ```
/// use driftless::id::{Difference, Sketch, Symbol};
///
/// let (ours, mut theirs) = (Sketch::new(16), Sketch::new(16));
/// theirs.add(Symbol(5));
/// let told = Difference { ours: vec![], theirs: vec![Symbol(5)] };
/// assert_eq!(ours.difference(&theirs), Some(told));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Members of ours alone, sorted.
    pub ours: Vec<Symbol>,
    /// Members of theirs alone, sorted.
    pub theirs: Vec<Symbol>,
}

impl Sketch {
    /// Makes the sketch of the empty set, with `cells` cells but at most [`SKETCH_CELLS_MAX`].
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Sketch;
    ///
    /// assert_eq!(Sketch::new(16).cells().len(), 16);
    /// ```
    #[must_use]
    pub fn new(cells: usize) -> Self {
        Self { cells: vec![Cell::default(); cells.clamp(1, SKETCH_CELLS_MAX)] }
    }

    /// Takes cells that were received.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::{Sketch, Symbol};
    ///
    /// let mut sent = Sketch::new(16);
    /// sent.add(Symbol(7));
    /// let received = Sketch::from_cells(sent.cells().to_vec());
    /// assert_eq!(received, sent);
    /// ```
    #[must_use]
    pub fn from_cells(mut cells: Vec<Cell>) -> Self {
        cells.truncate(SKETCH_CELLS_MAX);
        Self { cells }
    }

    /// Adds a member. Costs the logarithm of the number of cells.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::{Sketch, Symbol};
    ///
    /// let mut sketch = Sketch::new(16);
    /// sketch.add(Symbol(7));
    /// assert_ne!(sketch, Sketch::new(16));
    /// ```
    pub fn add(&mut self, symbol: Symbol) {
        self.apply(symbol, 1);
    }

    /// Returns the cells.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::{Sketch, Symbol};
    ///
    /// let mut sketch = Sketch::new(16);
    /// sketch.add(Symbol(7));
    /// assert_eq!(sketch.cells().first().map(|cell| cell.sum), Some(7));
    /// ```
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Tells how the sets differ whose sketches these are, or `None` when the cells are too few to tell.
    ///
    /// The work is bounded by the number of cells, whatever they say.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::{Difference, Sketch, Symbol};
    ///
    /// let (mut ours, mut theirs) = (Sketch::new(16), Sketch::new(16));
    /// ours.add(Symbol(7));
    /// theirs.add(Symbol(7));
    /// assert_eq!(ours.clone().difference(&theirs), Some(Difference::default()));
    ///
    /// (100..200).for_each(|many| ours.add(Symbol(many)));
    /// assert_eq!(ours.difference(&theirs), None);
    /// ```
    #[must_use]
    pub fn difference(mut self, theirs: &Self) -> Option<Difference> {
        self.cells.truncate(theirs.cells.len());
        for (cell, other) in self.cells.iter_mut().zip(&theirs.cells) {
            cell.sum ^= other.sum;
            cell.check ^= other.check;
            cell.count = cell.count.wrapping_sub(other.count);
        }
        let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
        let mut pure: Vec<usize> = (0..self.cells.len()).rev().collect();
        while let Some(index) = pure.pop() {
            let Some((symbol, side)) = self.cells.get(index).and_then(Cell::pure) else {
                continue;
            };
            let side = if side > 0 { &mut ours } else { &mut theirs };
            if !side.insert(symbol) || ours.len() + theirs.len() > self.cells.len() {
                // Honest cells give each symbol once, and fewer symbols than there are cells.
                return None;
            }
            let sign = if ours.contains(&symbol) { -1 } else { 1 };
            pure.extend(self.apply(symbol, sign));
        }
        let empty = self.cells.iter().all(|cell| *cell == Cell::default());
        (empty && !self.cells.is_empty())
            .then(|| Difference { ours: ours.into_iter().collect(), theirs: theirs.into_iter().collect() })
    }

    /// Adds to the count of every cell that holds the symbol; returns their places.
    fn apply(&mut self, symbol: Symbol, count: i8) -> Vec<usize> {
        let mut touched = Vec::new();
        let check = check(symbol);
        for index in Places::new(symbol) {
            let Some(cell) = self.cells.get_mut(index) else {
                break;
            };
            cell.sum ^= symbol.0;
            cell.check ^= check;
            cell.count = cell.count.wrapping_add(count);
            touched.push(index);
        }
        touched
    }
}

impl Cell {
    /// The only symbol left in a difference, and whose it is: 1 ours, -1 theirs.
    fn pure(&self) -> Option<(Symbol, i8)> {
        let symbol = Symbol(self.sum);
        let single = self.count == 1 || self.count == -1;
        (single && self.check == check(symbol)).then_some((symbol, self.count))
    }
}

/// The places of one symbol, ascending, without end.
struct Places {
    state: u64,
    next: usize,
}

impl Places {
    fn new(symbol: Symbol) -> Self {
        Self { state: mix(symbol.0 ^ 0x9e37_79b9_7f4a_7c15), next: 0 }
    }
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.next;
        self.state = mix(self.state);
        let draw = (self.state >> 32) as f64;
        let step = (place as f64 + 1.5) * (65_536.0 / (draw + 1.0).sqrt() - 1.0);
        // A step beyond every sketch is as good as the end.
        let step = step.ceil().clamp(1.0, 1e9) as usize;
        self.next = place.saturating_add(step);
        Some(place)
    }
}

fn check(symbol: Symbol) -> u32 {
    (mix(symbol.0 ^ 0xd1b5_4a32_d192_ed03) >> 32) as u32
}

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn symbols(seed: u64, count: u64) -> impl Iterator<Item = Symbol> {
        (0..count).map(move |index| Symbol(mix(seed.wrapping_mul(1 << 32) + index)))
    }

    fn sketch(cells: usize, symbols: impl Iterator<Item = Symbol>) -> Sketch {
        let mut sketch = Sketch::new(cells);
        symbols.for_each(|symbol| sketch.add(symbol));
        sketch
    }

    #[test]
    fn forty_differences_among_thousands_are_told_by_128_cells() {
        let mut told = 0;
        for seed in 0..200 {
            let of = |cells, own| sketch(cells, symbols(seed, 2_000).chain(symbols(seed + own, 20)));
            let sorted =
                |own| symbols(seed + own, 20).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
            let truth = Difference { ours: sorted(1_000), theirs: sorted(2_000) };

            let first = of(128, 1_000).difference(&of(128, 2_000));

            told += usize::from(first.is_some());
            let more = || of(512, 1_000).difference(&of(512, 2_000));
            assert_eq!(first.or_else(more), Some(truth), "seed {seed}");
        }
        assert!(told >= 198, "128 cells told {told} of 200");
    }

    #[test]
    fn too_few_cells_tell_nothing_rather_than_something_wrong() {
        let (ours, theirs) = (sketch(16, symbols(1, 100)), sketch(16, symbols(2, 100)));

        assert_eq!(ours.difference(&theirs), None);
    }

    #[test]
    fn equal_sets_do_not_differ() {
        let (ours, theirs) = (sketch(8, symbols(1, 5_000)), sketch(8, symbols(1, 5_000)));

        assert_eq!(ours.difference(&theirs), Some(Difference::default()));
    }

    #[test]
    fn a_sketch_has_at_most_so_many_cells() {
        assert_eq!(Sketch::new(SKETCH_CELLS_MAX + 1).cells().len(), SKETCH_CELLS_MAX);
        assert_eq!(
            Sketch::from_cells(vec![Cell::default(); SKETCH_CELLS_MAX + 1]).cells().len(),
            SKETCH_CELLS_MAX
        );
    }

    #[test]
    fn the_places_of_a_symbol_never_change() {
        let places: Vec<usize> = Places::new(Symbol(7)).take(8).collect();

        assert_eq!(places.first(), Some(&0));
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert_eq!(
            sketch(4, [Symbol(7)].into_iter()).cells()[0],
            Cell { sum: 7, check: check(Symbol(7)), count: 1 }
        );
    }

    proptest! {
        #[test]
        fn what_is_told_is_true(ours: BTreeSet<u64>, theirs: BTreeSet<u64>, cells in 1_usize..200) {
            let of = |set: &BTreeSet<u64>| sketch(cells, set.iter().copied().map(Symbol));
            if let Some(told) = of(&ours).difference(&of(&theirs)) {
                let only = |a: &BTreeSet<u64>, b| a.difference(b).copied().map(Symbol).collect::<Vec<_>>();
                prop_assert_eq!(told, Difference { ours: only(&ours, &theirs), theirs: only(&theirs, &ours) });
            }
        }

        #[test]
        fn hostile_cells_come_to_an_end(cells: Vec<(u64, u32, i8)>) {
            let cells = cells.into_iter().map(|(sum, check, count)| Cell { sum, check, count }).collect();
            let _ = sketch(64, symbols(1, 50)).difference(&Sketch::from_cells(cells));
        }
    }
}
