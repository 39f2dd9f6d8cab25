//! Large numbers, for people.

use std::fmt;

/// A number with a comma before every three digits.
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let first = (digits.len() - 1) % 3 + 1;
        f.write_str(&digits[..first])?;
        digits.as_bytes()[first..]
            .chunks(3)
            .try_for_each(|group| write!(f, ",{}", String::from_utf8_lossy(group)))
    }
}

/// How many there are of something, whose name is given in the plural.
#[derive(Debug)]
pub struct Counted<'a>(pub u64, pub &'a str);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(count, plural) = self;
        match (count, plural.strip_suffix('s')) {
            (1, Some(singular)) => write!(f, "1 {singular}"),
            _ => write!(f, "{} {plural}", Count(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Counted};

    #[test]
    fn every_three_digits_have_a_comma() {
        let text = [0, 999, 1_000, 81_204, 1_234_567].map(|count| Count(count).to_string());
        assert_eq!(text, ["0", "999", "1,000", "81,204", "1,234,567"]);
    }

    #[test]
    fn one_is_not_several() {
        let text = [0, 1, 2_000].map(|count| Counted(count, "younger requests").to_string());
        let expected = [
            "0 younger requests",
            "1 younger request",
            "2,000 younger requests",
        ];
        assert_eq!(text, expected);
    }
}
