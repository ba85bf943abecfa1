//! Finds tools by what somebody wants to do: BM25 over names, descriptions and parameters, with a few words that mean
//! the same. It does not know servers, permissions or models, and nothing leaves this process.

use std::collections::HashMap;

use serde_json::Value;

mod words;

use words::{Manner, is_deed, manner, plurals, relatives, terms, wish};

/// How soon a repeated word stops counting, and how much long texts are discounted; the usual values of the literature,
/// the second a little lower because descriptions of tools are all short.
const K1: f32 = 1.2;
const B: f32 = 0.5;
/// How much a word counts by where it stands.
const NAME: f32 = 3.0;
const DESCRIPTION: f32 = 1.0;
const PARAMETER: f32 = 0.5;
/// How much a related word counts beside the word itself.
const RELATED: f32 = 0.7;
/// How much a word with the same beginning counts, when the word itself is nowhere.
const SIMILAR: f32 = 0.4;
/// How much a word in the plural counts beside its singular.
const PLURAL: f32 = 0.4;
/// How much less each further word of a wish counts: the thing that is meant is named first, what it is of later.
const LATER: f32 = 0.9;
/// How much a tool gains that changes nothing when no deed is wished for, and that which fits the number besides.
const HARMLESS: f32 = 0.15;
const FITTING: f32 = 0.1;
/// Descriptions and schemas are read this far.
const READ_BYTES: usize = 4096;
/// Parameters beyond this are not read.
const READ_PARAMETERS: usize = 64;

/// A tool as its server describes it.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// `server:tool`.
    pub name: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// JSON Schema of its arguments.
    pub parameters: &'a Value,
}

/// Tools, ready to be searched.
#[derive(Debug, Default)]
pub struct Index {
    /// By term: which tools have it, and how much it counts there.
    postings: HashMap<String, Vec<(u32, f32)>>,
    /// What each tool does, by its name.
    manners: Vec<Manner>,
}

impl Index {
    /// Reads the descriptions.
    pub fn new<'a>(tools: impl IntoIterator<Item = Described<'a>>) -> Self {
        let mut manners = Vec::new();
        let mut weights: Vec<(HashMap<String, f32>, f32)> = Vec::new();
        for tool in tools {
            let mut of_tool: HashMap<String, f32> = HashMap::new();
            let mut length = 0.0;
            let mut read = |text: &str, weight: f32| {
                for term in terms(&text[..text.floor_char_boundary(READ_BYTES)]) {
                    *of_tool.entry(term).or_default() += weight;
                    length += weight;
                }
                for term in plurals(&text[..text.floor_char_boundary(READ_BYTES)]) {
                    *of_tool.entry(term).or_default() += weight * PLURAL;
                }
            };
            let own = tool.name.split_once(':').map_or(tool.name, |(_, own)| own);
            manners.push(manner(own));
            read(tool.name, NAME);
            read(tool.description, DESCRIPTION);
            let parameters = tool.parameters.get("properties").and_then(Value::as_object);
            for (name, schema) in parameters.into_iter().flatten().take(READ_PARAMETERS) {
                read(name, PARAMETER);
                read(schema.get("description").and_then(Value::as_str).unwrap_or_default(), PARAMETER);
            }
            weights.push((of_tool, length));
        }
        let count = weights.len();
        let usual = weights.iter().map(|(_, length)| length).sum::<f32>() / count.max(1) as f32;
        let mut postings: HashMap<String, Vec<(u32, f32)>> = HashMap::new();
        for (tool, (of_tool, length)) in (0..).zip(weights) {
            let norm = K1 * (1.0 - B + B * length / usual.max(1.0));
            for (term, weight) in of_tool {
                postings.entry(term).or_default().push((tool, weight * (K1 + 1.0) / (weight + norm)));
            }
        }
        for of_term in postings.values_mut() {
            let (n, with) = (count as f32, of_term.len() as f32);
            let rarity = (1.0 + (n - with + 0.5) / (with + 0.5)).ln();
            of_term.iter_mut().for_each(|(_, score)| *score *= rarity);
        }
        Index { postings, manners }
    }

    /// The positions of the tools that have anything to do with it, best first, at most `most`.
    pub fn search(&self, wanted: &str, most: usize) -> Vec<usize> {
        let wanted = &wanted[..wanted.floor_char_boundary(READ_BYTES)];
        let mut asked: Vec<(String, f32)> = Vec::new();
        let mut weight = 1.0;
        for term in wish(wanted) {
            if asked.iter().all(|(known, _)| *known != term) {
                asked.push((term, weight));
                weight *= LATER;
            }
        }
        let names_a_deed = asked.iter().any(|(term, _)| is_deed(term));
        let of_many = plurals(wanted);
        let fitting = if of_many.is_empty() { Manner::Get } else { Manner::List };
        asked.extend(of_many.into_iter().map(|word| (word, PLURAL)));
        let mut scores = vec![0.0_f32; self.manners.len()];
        let mut best = vec![0.0_f32; self.manners.len()];
        for (term, place) in &asked {
            // What a tool has of one asked word counts once: the word itself or the best relative of it.
            let mut touched: Vec<u32> = Vec::new();
            for (word, weight) in self.expanded(term) {
                for (tool, score) in &self.postings[word] {
                    let held = &mut best[*tool as usize];
                    if *held == 0.0 {
                        touched.push(*tool);
                    }
                    *held = held.max(score * weight * place);
                }
            }
            for tool in touched {
                scores[tool as usize] += std::mem::take(&mut best[tool as usize]);
            }
        }
        if !names_a_deed {
            for (score, manner) in scores.iter_mut().zip(&self.manners).filter(|(_, m)| **m != Manner::Change) {
                *score *= 1.0 + HARMLESS + if *manner == fitting { FITTING } else { 0.0 };
            }
        }
        let mut found: Vec<usize> = (0..scores.len()).filter(|tool| scores[*tool] > 0.0).collect();
        found.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
        found.truncate(most);
        found
    }

    /// The words of the index that a word may mean, with how much each counts.
    fn expanded<'a>(&'a self, term: &'a str) -> Vec<(&'a str, f32)> {
        let mut words: Vec<(&str, f32)> = Vec::new();
        if self.postings.contains_key(term) {
            words.push((term, 1.0));
        }
        words.extend(relatives(term).filter(|word| self.postings.contains_key(*word)).map(|word| (word, RELATED)));
        if words.is_empty() && term.len() >= 4 {
            let shares =
                |word: &&String| word.len() >= 4 && (word.starts_with(term) || term.starts_with(word.as_str()));
            words.extend(self.postings.keys().filter(shares).map(|word| (word.as_str(), SIMILAR)));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(wanted: &str) -> Vec<&'static str> {
        const TOOLS: [(&str, &str); 6] = [
            ("git:list_commits", "List the commits of a repository, newest first."),
            ("git:create_issue", "Create an issue in the tracker."),
            ("git:delete_issue", "Delete an issue from the tracker."),
            ("pay:chargeCard", "Charge a credit card for a payment."),
            ("w:weather_now", "Current weather of a city."),
            ("w:weather_forecast", "Weather forecast for the next days."),
        ];
        let index = Index::new(TOOLS.iter().map(|(name, description)| Described {
            name,
            description,
            parameters: &Value::Bool(true),
        }));
        index.search(wanted, 10).into_iter().map(|tool| TOOLS[tool].0).collect()
    }

    #[test]
    fn what_is_meant_comes_first() {
        for (wanted, first) in [
            ("list commits of a repository", "git:list_commits"),
            ("remove an issue from the tracker", "git:delete_issue"),
            ("open a new ticket", "git:create_issue"),
            ("charging cards", "pay:chargeCard"),
            ("what will the weather be", "w:weather_forecast"),
            ("the weather right now", "w:weather_now"),
        ] {
            assert_eq!(found(wanted).first(), Some(&first), "{wanted}");
        }
        assert!(!found("list commits of a repository").contains(&"pay:chargeCard"));
    }

    #[test]
    fn what_says_nothing_finds_nothing() {
        for wanted in ["", "   ", "the of a", "zzzz", "\u{0}\u{fffd} ✓"] {
            assert!(found(wanted).is_empty(), "{wanted:?}");
        }
        assert!(Index::new([]).search("anything", 5).is_empty());
    }
}
