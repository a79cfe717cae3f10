//! A suggested edit. It is shown, and never applied: a native sidecar starts before the containers that it was beside.

use super::{
    field::Field,
    pod::{Container, Pod},
    yaml::Location,
};

/// A change of whole lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The changes, in the order of the text. They do not overlap.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The bytes that are replaced: whole lines, or an empty range at the start of a line.
    pub start: usize,
    /// The end of the bytes that are replaced.
    pub end: usize,
    /// The line of `start`, counted from 1.
    pub line: usize,
    /// The number of lines that are replaced.
    pub removed_lines: usize,
    /// The new lines.
    pub text: String,
}

/// Returns the edit that makes a classic sidecar native: moves it to the start of `initContainers`, so that all init
/// containers can use it, with `restartPolicy: Always`. `None` if the manifest is not in block style, or if the last
/// regular container would move.
pub fn make_native(text: &str, pod: &Pod<'_>, container: &Container<'_>) -> Option<Edit> {
    let containers = pod.spec.get("containers")?;
    if containers.items().count() < 2 || !container.field.is_block_mapping() {
        return None;
    }
    let item = Lines::of_item(text, &container.field)?;
    let mut moved = item.text(text)?.trim_end_matches('\n').to_owned();
    moved.push('\n');
    if container.field.get("restartPolicy").is_none() {
        moved.push_str(&" ".repeat(item.indent + 2));
        moved.push_str("restartPolicy: Always\n");
    }
    let insertion = if let Some(list) = pod.spec.get("initContainers") {
        let first = list.items().next().filter(Field::is_block_mapping)?;
        let place = Lines::of_item(text, &first)?;
        if place.start == item.start || place.indent != item.indent {
            return None;
        }
        Change {
            start: place.start,
            end: place.start,
            line: place.line,
            removed_lines: 0,
            text: moved,
        }
    } else {
        let key = containers.key_location()?;
        let start = line_start(text, key.range().start);
        let indent = text.get(start..key.range().start)?;
        if !indent.chars().all(|c| c == ' ') {
            return None;
        }
        Change {
            start,
            end: start,
            line: line_number(key),
            removed_lines: 0,
            text: format!("{indent}initContainers:\n{moved}"),
        }
    };
    let removal = Change {
        start: item.start,
        end: item.end,
        line: item.line,
        removed_lines: item.text(text)?.lines().count(),
        text: String::new(),
    };
    // The two lists can be in either order.
    let mut changes = vec![insertion, removal];
    changes.sort_by_key(|change| change.start);
    Some(Edit { changes })
}

/// The lines of an item of a list in block style.
struct Lines {
    start: usize,
    end: usize,
    line: usize,
    /// The column of the dash.
    indent: usize,
}

impl Lines {
    fn of_item(text: &str, item: &Field<'_>) -> Option<Self> {
        let extent = item.extent();
        let start = line_start(text, extent.range().start);
        let before = text.get(start..extent.range().start)?;
        let indent = before.find('-')?;
        let is_dash = before.trim() == "-" && before.get(..indent)?.chars().all(|c| c == ' ');
        if !is_dash {
            return None;
        }
        let mut end = start;
        for (i, line) in text.get(start..)?.split_inclusive('\n').enumerate() {
            let body = line.trim_end();
            let column = body.len() - body.trim_start().len();
            let is_inside = i == 0 || body.is_empty() || column > indent;
            if !is_inside {
                break;
            }
            end += line.len();
        }
        // Empty lines after the item stay.
        let whole = text.get(start..end)?;
        let kept = whole.trim_end().len();
        end = start
            + whole
                .get(kept..)?
                .find('\n')
                .map_or(whole.len(), |newline| kept + newline + 1);
        // An alias would be moved away from its anchor, or the anchor from its alias.
        let mut words = text.get(start..end)?.split_whitespace();
        let has_anchor = words.any(|word| word.len() > 1 && word.starts_with(['&', '*']));
        (!has_anchor).then_some(Self {
            start,
            end,
            line: line_number(extent),
            indent,
        })
    }

    fn text<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.get(self.start..self.end)
    }
}

fn line_number(location: Location) -> usize {
    usize::try_from(location.line).unwrap_or(usize::MAX)
}

/// Returns the start of the line that contains this byte.
pub fn line_start(text: &str, at: usize) -> usize {
    text.get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |newline| newline + 1)
}
