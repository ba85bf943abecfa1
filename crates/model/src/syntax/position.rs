//! Byte offsets into lines and columns, for people. It does not know what stands there. Questions stay cheap when the
//! whole text is one line, as machines write it.

/// Knows where the lines of a text begin.
#[derive(Debug)]
pub struct Positions<'t> {
    text: &'t str,
    starts: Vec<u32>,
    /// Characters before every [`STEP`]th byte; empty when the text is ASCII and bytes are characters.
    marks: Vec<u32>,
}

const STEP: usize = 4096;

impl<'t> Positions<'t> {
    /// Looks at the whole text once.
    pub fn new(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let mut starts = vec![0];
        if bytes.contains(&b'\r') {
            // A lone CR ends a line too, as YAML has it.
            let ends = bytes.iter().enumerate().filter(|(i, b)| match **b {
                b'\n' => true,
                b'\r' => bytes.get(i + 1) != Some(&b'\n'),
                _ => false,
            });
            starts.extend(ends.map(|(i, _)| i as u32 + 1));
        } else {
            starts.extend(memchr::memchr_iter(b'\n', bytes).map(|i| i as u32 + 1));
        }
        let mut marks = Vec::new();
        if !text.is_ascii() {
            let mut before = 0;
            for chunk in bytes.chunks(STEP) {
                marks.push(before);
                before += characters(chunk);
            }
        }
        Positions { text, starts, marks }
    }

    /// Line and column, both from 1, the column in characters.
    pub fn at(&self, offset: u32) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let start = self.starts[line] as usize;
        let end = (offset as usize).min(self.text.len()).max(start);
        let mut column = self.characters_before(end) - self.characters_before(start) + 1;
        // A byte order mark has no width.
        if line == 0 && end > 0 && self.text.starts_with('\u{feff}') {
            column -= 1;
        }
        (line as u32 + 1, column)
    }

    fn characters_before(&self, offset: usize) -> u32 {
        let Some(mark) = self.marks.get(offset / STEP) else {
            return if self.marks.is_empty() { offset as u32 } else { self.all_characters() };
        };
        mark + characters(&self.text.as_bytes()[offset / STEP * STEP..offset])
    }

    fn all_characters(&self) -> u32 {
        let last = (self.marks.len() - 1) * STEP;
        self.marks[self.marks.len() - 1] + characters(&self.text.as_bytes()[last..])
    }
}

fn characters(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|b| (**b as i8) >= -0x40).count() as u32
}
