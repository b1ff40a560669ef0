//! Count letters in words. The words are spelled out, because whoever reads tokens never sees the letters in them.

use super::{ALPHABET, Item, Task, apart, exact, plainly};

/// `count r: b e r r y =` → `2`. The difficulty is the number of words.
pub(super) const TASK: Task = Task {
    name: "letters",
    description: "Count how often a letter occurs in a word.",
    hardest: 4,
    draw: |rng, difficulty| {
        let words: Vec<&str> = WORDS.split(' ').collect();
        let letters: Vec<char> = (0..difficulty).flat_map(|_| rng.choose(&words).chars()).collect();
        let count = |letter: char| letters.iter().filter(|&&l| l == letter).count();
        let (a, b) = (*rng.choose(&letters), *rng.choose(&letters));
        // The more frequent of two letters of the word, or, one time in five, any letter, which is mostly not in it.
        let letter = match rng.below(5) {
            0 => *rng.choose(ALPHABET) as char,
            _ if count(b) > count(a) => b,
            _ => a,
        };
        let answer = count(letter).to_string();
        Item { prompt: format!("count {letter}: {} =", apart(&letters)), answer }
    },
    demonstrate: plainly,
    grade: exact,
};

/// Words in which letters come more than once.
const WORDS: &str = "\
    acorn apple apricot attic baker balloon banana barrel basket beetle bell berry bottle bridge bubble \
    butter button cabbage carrot cherry chimney circus coconut coffee cookie cotton cricket daffodil dinner \
    dragon eleven engine feather ferry football garden giggle goose grass hammer harbour hedgehog hill honey \
    island jelly kettle kitten ladder lantern lemon letter lighthouse lollipop marble meadow mirror \
    mississippi muffin needle noodle oboe onion orange otter owl pancake paper pepper pillow pine pizza \
    pocket poppy potato pudding puddle puppy rabbit raccoon river rocket scissors seagull seesaw skippers \
    spoon squirrel strawberry summer teddy teeth tomato turnip umbrella valley village violin waffle whistle \
    willow window winter woodpecker yellow zipper";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;

    #[test]
    fn counts_are_right() {
        for (index, difficulty) in (0..1000).map(|index| (index, index as u32 % 4 + 1)) {
            let item = TASK.item(5, Split::HeldOut, index, difficulty);
            let (letter, word) = item.prompt.split_once(": ").expect("a prompt");
            let letter = letter.strip_prefix("count ").expect("a letter");
            assert_eq!(item.answer, word.matches(letter).count().to_string(), "{item:?}");
        }
    }

    #[test]
    fn only_the_number_counts() {
        let item = Item { prompt: "count r: b e r r y =".to_owned(), answer: "2".to_owned() };
        for (answer, correct) in
            [("2", true), ("two", false), ("2 3", false), ("r r", false), ("\u{b2}", false)]
        {
            assert_eq!(TASK.verify(&item, answer).correct, correct, "{answer:?}");
        }
    }
}
