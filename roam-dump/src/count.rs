//! Large numbers, for people.

use std::fmt;

/// A number with a comma before every three digits.
pub(crate) struct Count(pub(crate) u64);

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

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn every_three_digits_have_a_comma() {
        let text = [0, 999, 1_000, 81_204, 1_234_567].map(|count| Count(count).to_string());
        assert_eq!(text, ["0", "999", "1,000", "81,204", "1,234,567"]);
    }
}
