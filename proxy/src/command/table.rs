//! A table for people: columns side by side, colours where a terminal shows them.

/// One cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    paint: Paint,
}

/// What a cell's words mean to whoever looks for trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// Nothing in particular.
    Plain,
    /// As it should be: green.
    Good,
    /// Worth a look: yellow.
    Odd,
    /// Trouble: red.
    Bad,
}

impl Paint {
    /// The terminal's number for it.
    const fn colour(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Good => Some(32),
            Self::Odd => Some(33),
            Self::Bad => Some(31),
        }
    }
}

impl Cell {
    /// These words, painted so.
    pub(super) fn new(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: text.into(), paint }
    }

    /// These words.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Paint::Plain)
    }
}

/// A line for each row, the first of which is the head.
pub(super) fn table(rows: &[Vec<Cell>], colours: bool) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        // Kept back until something follows: no line ends in spaces.
        let mut gap = 0;
        for (width, cell) in widths.iter().zip(row) {
            let length = cell.text.chars().count();
            if length > 0 {
                out.extend(std::iter::repeat_n(' ', gap));
                gap = 0;
                match cell.paint.colour().filter(|_| colours) {
                    Some(colour) => out.push_str(&format!("\x1b[{colour}m{}\x1b[0m", cell.text)),
                    None => out.push_str(&cell.text),
                }
            }
            gap += width - length + 2;
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_with_and_without_colours() {
        let rows = [
            vec![Cell::plain("NAME"), Cell::plain("FIT"), Cell::plain("N")],
            vec![Cell::plain("compile1"), Cell::new("unfit", Paint::Bad), Cell::plain("3")],
            vec![Cell::plain("c2"), Cell::plain("fit"), Cell::plain("")],
        ];
        assert_eq!(table(&rows, false), "NAME      FIT    N\ncompile1  unfit  3\nc2        fit\n");
        let painted = "NAME      FIT    N\ncompile1  \x1b[31munfit\x1b[0m  3\nc2        fit\n";
        assert_eq!(table(&rows, true), painted);
    }
}
