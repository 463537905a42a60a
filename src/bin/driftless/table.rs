//! Tables of text with aligned columns.

use std::fmt;

/// Rows of cells, shown with two blanks between columns and an indent in front.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table with a row of headings.
    pub(crate) fn with_heads<const N: usize>(heads: [&str; N]) -> Self {
        let mut table = Self::default();
        table.row(heads);
        table
    }

    /// Adds a row.
    pub(crate) fn row<S: ToString, const N: usize>(&mut self, cells: [S; N]) {
        self.rows.push(cells.iter().map(ToString::to_string).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "  {}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::with_heads(["device", "status"]);
        table.row(["bench", "waiting for parts"]);
        table.row(["front desk", "ready"]);

        assert_eq!(
            table.to_string(),
            "  device      status\n  bench       waiting for parts\n  front desk  ready\n"
        );
    }
}
