//! What a stage learns from, put together piece by piece by whoever has the tokenizer.

use crate::error;
use crate::model::Model;
use cloche_train::examples::{Example, Pair, Prompt, Ranking};
use cloche_train::rollout::{Answer, Exam, Verdict, Verifier};
use cloche_train::sft::Mixed;
use js_sys::{Array, Float32Array, Function, Uint32Array};
use wasm_bindgen::prelude::*;

/// How many answers of an exam are shown.
const SHOWN: usize = 3;

/// Tokens to learn from, some that are held out, and whoever says what they are worth. Each stage takes what it needs.
#[wasm_bindgen]
#[derive(Default)]
pub struct Material {
    pub(crate) train: Part,
    pub(crate) held_out: Part,
    /// What else has a share of every step.
    pub(crate) mix: Vec<Mixed>,
    verifier: Option<Function>,
    /// A model that says what it thinks: the teacher of distillation, the judge of PPO.
    pub(crate) adviser: Option<Model>,
}

/// One side of the wall between training and examination.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) examples: Vec<Example>,
    pub(crate) rankings: Vec<Ranking>,
    pub(crate) prompts: Vec<Prompt>,
}

#[wasm_bindgen]
impl Material {
    /// Nothing yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Material {
        Material::default()
    }

    /// Adds a text; `learn` is 1 at each token that is to be learnt.
    pub fn example(
        &mut self,
        #[wasm_bindgen(js_name = heldOut)] held_out: bool,
        ids: Vec<u32>,
        learn: &[u8],
    ) -> Result<(), JsValue> {
        let example = example(ids, learn)?;
        match self.mix.last_mut().filter(|_| !held_out) {
            Some(source) => source.examples.push(example),
            None => self.part(held_out).examples.push(example),
        }
        Ok(())
    }

    /// Begins a source beside what is to be learnt, which has this share of every step: texts to learn that follow are its.
    pub fn mix(&mut self, share: f32) {
        self.mix.push(Mixed { share, examples: Vec::new() });
    }

    /// Begins a comparison, whose answers follow.
    pub fn ranking(&mut self, #[wasm_bindgen(js_name = heldOut)] held_out: bool) {
        self.part(held_out).rankings.push(Ranking { answers: Vec::new() });
    }

    /// Adds an answer, its prompt included, to the comparison that was begun last: the best one comes first.
    pub fn answer(
        &mut self,
        #[wasm_bindgen(js_name = heldOut)] held_out: bool,
        ids: Vec<u32>,
        learn: &[u8],
    ) -> Result<(), JsValue> {
        let example = example(ids, learn)?;
        let ranking = self.part(held_out).rankings.last_mut();
        ranking
            .ok_or_else(|| error("DATA", "answer: found no comparison to add it to"))?
            .answers
            .push(example);
        Ok(())
    }

    /// Adds a question. Its number, counted from 0 on each side of the wall, is what the verifier is told.
    pub fn prompt(&mut self, #[wasm_bindgen(js_name = heldOut)] held_out: bool, ids: Vec<u32>) {
        let prompts = &mut self.part(held_out).prompts;
        prompts.push(Prompt { ids, index: prompts.len() });
    }

    /// Says who judges answers: a function of the side of the wall, the questions' numbers and the answers' tokens, which
    /// gives two numbers for each answer: a finite reward, and whether it is right.
    pub fn verifier(
        &mut self,
        #[wasm_bindgen(
            unchecked_param_type = "(heldOut: boolean, questions: Uint32Array, answers: Uint32Array[]) => Float32Array"
        )]
        verifier: Function,
    ) {
        self.verifier = Some(verifier);
    }

    /// Names the model that is asked for its opinion: the teacher of distillation, the judge of PPO.
    pub fn adviser(&mut self, model: &Model) -> Result<(), JsValue> {
        // It is kept with the run's checkpoints.
        model.expect_whole()?;
        self.adviser = Some(model.clone());
        Ok(())
    }
}

impl Material {
    fn part(&mut self, held_out: bool) -> &mut Part {
        if held_out { &mut self.held_out } else { &mut self.train }
    }

    /// Who judges answers of one side.
    pub(crate) fn judge(&self, held_out: bool) -> Result<Verifier, JsValue> {
        let missing = || error("DATA", "verifier: found none, expected a function that judges answers");
        let verifier = self.verifier.clone().ok_or_else(missing)?;
        Ok(Box::new(move |answers| verdicts(&verifier, held_out, answers)))
    }

    /// An examination in what is held out, where there are questions.
    pub(crate) fn exam(&mut self, max_tokens: usize) -> Result<Option<Exam>, JsValue> {
        let prompts = std::mem::take(&mut self.held_out.prompts);
        if prompts.is_empty() {
            return Ok(None);
        }
        Ok(Some(Exam { prompts, max_tokens, shown: SHOWN, verifier: self.judge(true)? }))
    }
}

impl Part {
    /// Its comparisons as pairs: each of a ranking's answers with each that follows it.
    pub(crate) fn pairs(&self) -> Vec<Pair> {
        let pairs_of = |Ranking { answers }: &Ranking| {
            let with_worse = |at: usize| {
                let worse = answers[at + 1..].iter();
                worse.map(move |rejected| Pair { chosen: answers[at].clone(), rejected: rejected.clone() })
            };
            (0..answers.len()).flat_map(with_worse).collect::<Vec<_>>()
        };
        self.rankings.iter().flat_map(pairs_of).collect()
    }
}

fn example(ids: Vec<u32>, learn: &[u8]) -> Result<Example, JsValue> {
    if ids.len() != learn.len() {
        let text =
            format!("learn: found {} marks, expected one for each of {} tokens", learn.len(), ids.len());
        return Err(error("DATA", &text));
    }
    Ok(Example { ids, learn: learn.iter().map(|&mark| mark != 0).collect() })
}

/// Asks JavaScript. What it throws, or gives in place of verdicts, becomes the verifier's error.
fn verdicts(verifier: &Function, held_out: bool, answers: &[Answer]) -> Result<Vec<Verdict>, String> {
    let questions: Vec<u32> = answers.iter().map(|answer| answer.index as u32).collect();
    let ids: Array = answers.iter().map(|answer| JsValue::from(Uint32Array::from(&answer.ids[..]))).collect();
    let questions = Uint32Array::from(&questions[..]);
    let said =
        verifier.call3(&JsValue::UNDEFINED, &held_out.into(), &questions, &ids).map_err(
            |thrown| match thrown.dyn_ref::<js_sys::Error>() {
                Some(error) => String::from(error.message()),
                None => thrown.as_string().unwrap_or_else(|| "it threw what is no error".into()),
            },
        )?;
    let said = Float32Array::new(&said).to_vec();
    Ok(said.chunks_exact(2).map(|said| Verdict { reward: said[0], correct: said[1] != 0.0 }).collect())
}
