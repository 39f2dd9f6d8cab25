//! An order that is fair to users.

use std::collections::HashMap;

/// Sorts things so that the first of every user come first, then the second, and so on: a user with many processes leaves
/// no less time for those of others.
pub fn in_turns<T>(things: Vec<T>, user: impl Fn(&T) -> u32) -> Vec<T> {
    let mut taken: HashMap<u32, usize> = HashMap::new();
    let mut numbered: Vec<_> = (things.into_iter())
        .map(|thing| {
            let turn = taken.entry(user(&thing)).or_default();
            *turn += 1;
            (*turn, thing)
        })
        .collect();
    numbered.sort_by_key(|&(turn, _)| turn);
    numbered.into_iter().map(|(_, thing)| thing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_all_of_another() {
        let things = vec![(7, 'a'), (7, 'b'), (7, 'c'), (0, 'd'), (0, 'e')];
        let sorted = in_turns(things, |&(user, _)| user);
        let names: String = sorted.into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, "adbec");
    }
}
