//! Lists such as `0=negative,1=positive`, in which names may hold commas and equals signs if they stand in double
//! quotes.

/// The pairs of `text`; `None` if a part of it is none. In a part without quotes the last equals sign separates.
pub fn parse_pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut present = Pair::default();
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => present.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => pairs.push(std::mem::take(&mut present).finish()?),
            '=' if !quoted => present.separate(),
            other => present.push(other),
        }
    }
    pairs.push(present.finish()?);
    (!quoted).then_some(pairs)
}

/// A pair as [`parse_pairs`] reads it.
pub fn write_pair(name: &str, value: &str) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let name = if name.contains([',', '"']) || name.is_empty() { quoted(name) } else { name.to_owned() };
    let value = if value.contains([',', '"', '=']) { quoted(value) } else { value.to_owned() };
    format!("{name}={value}")
}

#[derive(Default)]
struct Pair {
    text: String,
    /// Where the last separator stands in `text`.
    separator: Option<usize>,
}

impl Pair {
    fn push(&mut self, character: char) {
        self.text.push(character);
    }

    fn separate(&mut self) {
        self.separator = Some(self.text.len());
        self.text.push('=');
    }

    fn finish(self) -> Option<(String, String)> {
        let separator = self.separator?;
        Some((self.text[..separator].to_owned(), self.text[separator + 1..].to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn quotes_protect_commas_equals_signs_and_quotes() {
        assert_eq!(parse_pairs("0=negative,1=positive"), own(&[("0", "negative"), ("1", "positive")]));
        assert_eq!(parse_pairs("\"a, b\"=2,\"c=d\"=\"x=y\""), own(&[("a, b", "2"), ("c=d", "x=y")]));
        assert_eq!(parse_pairs("\"say \"\"hi\"\"\"=1"), own(&[("say \"hi\"", "1")]));
        assert_eq!(parse_pairs("a=b=c"), own(&[("a=b", "c")]));
        assert_eq!(parse_pairs("\"\"=none"), own(&[("", "none")]));
        for wrong in ["", "a", "a=1,", ",a=1", "\"a=1", "a,b=1"] {
            assert_eq!(parse_pairs(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (name, value) in [("a", "b"), ("a,b", "c=d"), ("", "x"), ("a=b", "0"), ("\"", "=,\"")] {
            assert_eq!(parse_pairs(&write_pair(name, value)), own(&[(name, value)]));
        }
    }
}
