//! Think, then answer, each between tags: the form that DeepSeek-R1 was rewarded for, besides being right.
//!
//! DeepSeek-AI 2025, "DeepSeek-R1: Incentivizing reasoning capability in LLMs via reinforcement learning", section
//! 2.2.2, <https://arxiv.org/abs/2501.12948>.

use std::fmt::Write;

use super::{Item, Task, Verdict};

/// `think: 12+39=` → `<think>2+9=11, 1+3+1=5</think><answer>51</answer>`. The difficulty is the most digits of a number.
///
/// Reward [`FORM`] for keeping to the form, whatever is in it, and 1 where the answer is right as well. An answer outside
/// the tags is worth nothing.
pub(super) const TASK: Task = Task {
    name: "format",
    description: "Add two numbers: think between <think> tags, then answer between <answer> tags.",
    hardest: 8,
    draw: |rng, difficulty| {
        let bound = 10u64.pow(difficulty);
        let (a, b) = (rng.below(bound), rng.below(bound));
        Item { prompt: format!("think: {a}+{b}="), answer: (a + b).to_string() }
    },
    demonstrate: |item| format!("<think>{}</think><answer>{}</answer>", columns(&item.prompt), item.answer),
    grade: |item, said| match answer(said) {
        Some(answer) if answer == item.answer => Verdict { reward: 1.0, correct: true },
        Some(_) => Verdict { reward: FORM, correct: false },
        None => Verdict { reward: 0.0, correct: false },
    },
};

/// What keeping to the form is worth.
const FORM: f32 = 0.2;

/// What stands between the answer tags, where the text is thoughts between tags, then an answer between tags, and
/// nothing else.
fn answer(said: &str) -> Option<&str> {
    let (thoughts, rest) = said.strip_prefix("<think>")?.split_once("</think>")?;
    let answer = rest.trim_ascii_start().strip_prefix("<answer>")?.strip_suffix("</answer>")?.trim_ascii();
    let inside = |text: &str| !text.trim_ascii().is_empty() && !text.contains(['<', '>']);
    (inside(thoughts) && inside(answer)).then_some(answer)
}

/// The sum digit by digit, from the right: `2+9=11, 1+3+1=5`. A prompt without a sum leaves nothing to think.
fn columns(prompt: &str) -> String {
    let sum = prompt.strip_prefix("think: ").and_then(|rest| rest.strip_suffix('=')?.split_once('+'));
    let (a, b) = sum.unwrap_or(("", ""));
    let digit = |number: &str, place: usize| {
        number.bytes().rev().nth(place).map_or(0, |byte| byte.wrapping_sub(b'0') as u32)
    };
    let (mut thoughts, mut carry) = (String::new(), 0);
    for place in 0..a.len().max(b.len()) {
        let (x, y) = (digit(a, place), digit(b, place));
        let comma = if place > 0 { ", " } else { "" };
        let carried = if carry > 0 { "+1" } else { "" };
        write!(thoughts, "{comma}{x}+{y}{carried}={}", x + y + carry).expect("a string takes all");
        carry = (x + y + carry) / 10;
    }
    thoughts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_and_the_sum_are_rewarded() {
        let item = Item { prompt: "think: 12+39=".to_owned(), answer: "51".to_owned() };
        let shown = TASK.demonstration(&item);
        assert_eq!(shown, "<think>2+9=11, 1+3+1=5</think><answer>51</answer>");
        for (said, reward) in [
            (&*shown, 1.0),
            ("<think>hm</think>\n<answer> 51 </answer>", 1.0),
            ("<think>hm</think><answer>52</answer>", FORM),
            ("<think>hm</think><answer>51 or 52</answer>", FORM),
            ("51", 0.0),
            ("<answer>51</answer>", 0.0),
            ("<think></think><answer>51</answer>", 0.0),
            ("<think> </think><answer>51</answer>", 0.0),
            ("<think>hm</think><answer></answer>", 0.0),
            ("<think>hm</think><answer>50</answer><answer>51</answer>", 0.0),
            ("<think>hm</think><answer>51</answer> That was easy.", 0.0),
            ("<answer>51</answer><think>hm</think>", 0.0),
            ("<think>hm<answer>51</answer></think>", 0.0),
            ("<think><think>hm</think><answer>51</answer>", 0.0),
            ("<THINK>hm</THINK><ANSWER>51</ANSWER>", 0.0),
        ] {
            let verdict = TASK.verify(&item, said);
            assert_eq!((verdict.reward, verdict.correct), (reward, reward == 1.0), "{said:?}");
        }
    }

    #[test]
    fn thoughts_go_digit_by_digit() {
        assert_eq!(columns("think: 7+5="), "7+5=12");
        assert_eq!(columns("think: 987+15="), "7+5=12, 8+1+1=10, 9+0+1=10");
        assert_eq!(columns("think: 0+0="), "0+0=0");
        assert_eq!(columns("no sum"), "");
    }
}
