//! The one form in which operators' commands print rows. Pure.

use console::{measure_text_width, truncate_str};

use crate::style::{Colour, Style};
use crate::terminal::plain;

const GAP: &str = "  ";
/// What is left of the last column on a terminal that has no room for it.
const LAST_MIN: usize = 8;

/// Rows under headings, in columns that are as wide as what is in them.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

/// One field, which may be anybody's text.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    /// A field that stands out.
    pub(crate) fn coloured(colour: Colour, text: &str) -> Self {
        Self { text: plain(text), colour: Some(colour) }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: plain(text.as_ref()), colour: None }
    }
}

impl Table {
    /// No rows yet.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        let right = vec![false; headings.len()];
        Self { headings: headings.to_vec(), right, rows: Vec::new() }
    }

    /// Numbers end where each other do.
    pub(crate) fn right(mut self, column: usize) -> Self {
        self.right[column] = true;
        self
    }

    /// Adds a row, a cell for each heading.
    pub(crate) fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut cells: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        cells.resize_with(self.headings.len(), || Cell::from(""));
        self.rows.push(cells);
    }

    /// All of it, in lines.
    pub(crate) fn render(&self, style: Style) -> String {
        let headings: Vec<_> =
            self.headings.iter().map(|it| Cell::coloured(Colour::Bold, it)).collect();
        let rows: Vec<&Vec<Cell>> = std::iter::once(&headings).chain(&self.rows).collect();
        let width =
            |column: usize| rows.iter().map(|it| measure_text_width(&it[column].text)).max();
        let last = self.headings.len().saturating_sub(1);
        let widths: Vec<usize> = (0..last).filter_map(width).collect();
        let taken: usize = widths.iter().map(|it| it + GAP.len()).sum();
        let room = style.width.map(|it| it.saturating_sub(taken).max(LAST_MIN));
        let mut text = String::new();
        for cells in rows {
            let mut line = String::new();
            for (column, Cell { text, colour }) in cells.iter().enumerate() {
                let shown = match room {
                    Some(room) if column == last => truncate_str(text, room, "…"),
                    Some(_) | None => text.into(),
                };
                let pad = widths.get(column).copied().unwrap_or_default();
                let pad = " ".repeat(pad.saturating_sub(measure_text_width(&shown)));
                let shown = colour.map_or_else(|| shown.to_string(), |it| style.paint(it, &shown));
                let (before, after) =
                    if self.right[column] { (pad, String::new()) } else { (String::new(), pad) };
                let gap = if column == 0 { "" } else { GAP };
                line.extend([gap, &before, &shown, &after]);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["RUN", "AGE", "REASON"]).right(1);
        table.row(["iris", "9s", "a\u{1b}[2J bad\nword"]);
        table.row(["日本", "12h", ""]);
        table.row([
            Cell::from("übung"),
            Cell::from("1m"),
            Cell::coloured(Colour::Red, "it failed for a long reason"),
        ]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_what_they_show() {
        expect![[r"
            RUN    AGE  REASON
            iris    9s  a [2J bad word
            日本   12h
            übung   1m  it failed for a long reason
        "]]
        .assert_eq(&table().render(Style::PLAIN));
    }

    #[test]
    fn on_a_terminal_the_last_column_ends_where_that_does() {
        let text = table().render(Style { colours: false, width: Some(24) });
        assert!(text.lines().all(|it| measure_text_width(it) <= 24), "{text}");
        assert!(text.contains("it failed f…\n"), "{text}");
        // Where there is no room at all, lines are broken by the terminal and nothing panics.
        let text = table().render(Style { colours: false, width: Some(1) });
        assert!(text.contains("it fail…\n"), "{text}");
    }

    #[test]
    fn colours_take_no_room() {
        let text = table().render(Style { colours: true, width: Some(24) });
        assert!(text.contains("\x1b[31mit failed f…\x1b[0m\n"), "{text:?}");
        assert!(text.starts_with("\x1b[1mRUN\x1b[0m    \x1b[1mAGE\x1b[0m"), "{text:?}");
    }
}
