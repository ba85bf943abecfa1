//! Byte offsets into lines and columns, for people. It does not know what stands there.

/// Knows where the lines of a text begin.
#[derive(Debug)]
pub struct Positions<'t> {
    text: &'t str,
    starts: Vec<u32>,
}

impl<'t> Positions<'t> {
    /// Looks at the whole text once.
    pub fn new(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let mut starts = vec![0];
        // A lone CR ends a line too, as YAML has it.
        let ends = bytes.iter().enumerate().filter(|(i, b)| match **b {
            b'\n' => true,
            b'\r' => bytes.get(i + 1) != Some(&b'\n'),
            _ => false,
        });
        starts.extend(ends.map(|(i, _)| i as u32 + 1));
        Positions { text, starts }
    }

    /// Line and column, both from 1, the column in characters.
    pub fn at(&self, offset: u32) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let start = self.starts[line] as usize;
        let end = (offset as usize).min(self.text.len()).max(start);
        let mut before = &self.text.as_bytes()[start..end];
        // A byte order mark has no width.
        if line == 0 {
            before = before.strip_prefix("\u{feff}".as_bytes()).unwrap_or(before);
        }
        let column = before.iter().filter(|b| (**b as i8) >= -0x40).count() + 1;
        (line as u32 + 1, column as u32)
    }
}
