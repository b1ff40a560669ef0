//! Lessons, comparisons and tasks as JavaScript sees them: plain objects in the shapes of chat data sets, and functions
//! that judge what a model says.

use cloche_train::lessons::{Lesson, Preference, Role, Truth};
use cloche_train::split::Split;
use cloche_train::tasks::{Item, TASKS, Task, task};
use js_sys::TypeError;
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;

type Result<T> = std::result::Result<T, JsValue>;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** On which side of the wall between training and examination a prompt lies. */
export type Split = "train" | "heldOut";
export interface Message { role: "system" | "user" | "assistant"; content: string }
/** A conversation that ends with what to answer; `accepted` are all right answers, the one to give first. */
export interface Lesson { kind: string; messages: Message[]; accepted: string[] }
/** Two answers to one prompt, the better and the worse. */
export interface Preference { kind: string; prompt: Message[]; chosen: string; rejected: string; accepted: string[] }
/** A kind of question; difficulties run from 1 to `hardest`. */
export interface Task { name: string; description: string; hardest: number }
/** A question, its answer, and how one would put it. */
export interface TaskItem { prompt: string; answer: string; demonstration: string }
export interface Verdict { reward: number; correct: boolean }
"#;

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: String,
}

#[derive(Serialize)]
struct LessonObject {
    kind: &'static str,
    messages: Vec<Message>,
    accepted: Vec<String>,
}

#[derive(Serialize)]
struct PreferenceObject {
    kind: &'static str,
    prompt: Vec<Message>,
    chosen: String,
    rejected: String,
    accepted: Vec<String>,
}

#[derive(Serialize)]
struct TaskObject {
    name: &'static str,
    description: &'static str,
    hardest: u32,
}

#[derive(Serialize)]
struct ItemObject {
    prompt: String,
    answer: String,
    demonstration: String,
}

#[derive(Serialize)]
struct VerdictObject {
    reward: f32,
    correct: bool,
}

/// Lessons number `start` to `start + count` of a seed.
#[wasm_bindgen(unchecked_return_type = "Lesson[]")]
pub fn lessons(
    seed: f64,
    #[wasm_bindgen(unchecked_param_type = "Split")] split: &str,
    start: u32,
    count: u32,
) -> Result<JsValue> {
    let split = split_of(split)?;
    list(start, count, |index| lesson_object(Lesson::new(seed as u64, split, index)))
}

/// Demonstrations by people who answer well or badly, politely or not: what preferences can improve.
#[wasm_bindgen(js_name = mixedManners, unchecked_return_type = "Lesson[]")]
pub fn mixed_manners(
    seed: f64,
    #[wasm_bindgen(unchecked_param_type = "Split")] split: &str,
    start: u32,
    count: u32,
) -> Result<JsValue> {
    let split = split_of(split)?;
    list(start, count, |index| lesson_object(Lesson::of_mixed_manners(seed as u64, split, index)))
}

/// Comparisons number `start` to `start + count` of a seed.
#[wasm_bindgen(unchecked_return_type = "Preference[]")]
pub fn preferences(
    seed: f64,
    #[wasm_bindgen(unchecked_param_type = "Split")] split: &str,
    start: u32,
    count: u32,
) -> Result<JsValue> {
    let split = split_of(split)?;
    list(start, count, |index| {
        let Preference { kind, prompt, chosen, rejected, truth } = Preference::new(seed as u64, split, index);
        PreferenceObject { kind, prompt: messages(prompt), chosen, rejected, accepted: truth.accepted }
    })
}

/// Judges answers to a lesson or a comparison by its right answers: from −1.5, wrong and rude, to 1.5, right and polite.
#[wasm_bindgen]
pub fn judge(accepted: Vec<String>, said: Vec<String>) -> Vec<f32> {
    let truth = Truth { accepted };
    said.iter().map(|said| truth.judge(said)).collect()
}

/// All tasks.
#[wasm_bindgen(unchecked_return_type = "Task[]")]
pub fn tasks() -> Result<JsValue> {
    let row =
        |task: &Task| TaskObject { name: task.name, description: task.description, hardest: task.hardest };
    to_js(&TASKS.iter().map(row).collect::<Vec<_>>())
}

/// Items number `start` to `start + count` of a task.
#[wasm_bindgen(js_name = taskItems, unchecked_return_type = "TaskItem[]")]
pub fn task_items(
    name: &str,
    seed: f64,
    #[wasm_bindgen(unchecked_param_type = "Split")] split: &str,
    start: u32,
    count: u32,
    difficulty: u32,
) -> Result<JsValue> {
    let (task, split) = (task_of(name)?, split_of(split)?);
    list(start, count, |index| {
        let item = task.item(seed as u64, split, index, difficulty);
        let demonstration = task.demonstration(&item);
        ItemObject { prompt: item.prompt, answer: item.answer, demonstration }
    })
}

/// Judges answers to an item of a task.
#[wasm_bindgen(unchecked_return_type = "Verdict[]")]
pub fn verify(name: &str, prompt: String, answer: String, said: Vec<String>) -> Result<JsValue> {
    let (task, item) = (task_of(name)?, Item { prompt, answer });
    let verdict = |said: &String| {
        let verdict = task.verify(&item, said);
        VerdictObject { reward: verdict.reward, correct: verdict.correct }
    };
    to_js(&said.iter().map(verdict).collect::<Vec<_>>())
}

fn split_of(name: &str) -> Result<Split> {
    match name {
        "train" => Ok(Split::Train),
        "heldOut" => Ok(Split::HeldOut),
        _ => Err(TypeError::new("split: there are train and heldOut").into()),
    }
}

fn task_of(name: &str) -> Result<&'static Task> {
    task(name).ok_or_else(|| TypeError::new(&["there is no task ", name].concat()).into())
}

fn lesson_object(lesson: Lesson) -> LessonObject {
    let Lesson { kind, messages: said, truth } = lesson;
    LessonObject { kind, messages: messages(said), accepted: truth.accepted }
}

fn messages(said: Vec<(Role, String)>) -> Vec<Message> {
    said.into_iter().map(|(role, content)| Message { role: role.name(), content }).collect()
}

fn list<T: Serialize>(start: u32, count: u32, item: impl Fn(u64) -> T) -> Result<JsValue> {
    let first = u64::from(start);
    to_js(&(first..first + u64::from(count)).map(item).collect::<Vec<_>>())
}

fn to_js(value: &impl Serialize) -> Result<JsValue> {
    Ok(value.serialize(&Serializer::json_compatible())?)
}
