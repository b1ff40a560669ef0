//! The chapters of the course: each is a command that one could type, and what it shows.

/// A chapter.
pub struct Chapter {
    /// Its folder in the course's.
    pub name: &'static str,
    /// Its headline.
    pub title: &'static str,
    /// What happens and why, in a few sentences.
    pub text: &'static str,
    /// The command without `cloche`, its folder and its steps; `{name}` is the folder of a chapter before it.
    pub command: &'static str,
    /// Steps of a whole course.
    pub steps: u64,
    /// Whether what it leaves makes words: a reward model does not.
    pub speaks: bool,
    /// What to look at.
    pub charts: &'static [Chart],
}

/// Numbers over the steps of a chapter.
pub struct Chart {
    /// What it shows.
    pub title: &'static str,
    /// The unit of all its lines.
    pub unit: &'static str,
    /// The lines, from the event's kind and field.
    pub lines: &'static [Line],
}

/// A line of a chart.
pub struct Line {
    /// `step` or `eval`.
    pub event: &'static str,
    /// The field.
    pub field: &'static str,
    /// What the legend calls it.
    pub label: &'static str,
}

const fn line(event: &'static str, field: &'static str, label: &'static str) -> Line {
    Line { event, field, label }
}

const ANSWERED: Chart = Chart {
    title: "Answers to questions never asked before",
    unit: "share",
    lines: &[line("eval", "exam_correct", "right to the letter")],
};

const JUDGED: Chart = Chart {
    title: "What held-out answers are worth",
    unit: "points, by ground truth",
    lines: &[line("eval", "exam_reward", "mean judgement")],
};

const REWARD: Chart =
    Chart { title: "Reward", unit: "points an answer", lines: &[line("step", "reward", "reward of a step")] };

/// All chapters, from an empty model to an aligned one.
pub const CHAPTERS: &[Chapter] = &[
    Chapter {
        name: "1-base",
        title: "Pre-training: from noise to words",
        text: "A tokenizer is trained on made-up stories, then a model that has never seen anything learns to guess the \
               next token of them. It is asked nothing and told nothing; it only reads. The stories know the \
               probability of every choice they make, so the floor under the loss is known exactly.",
        command: "train --data stories --preset llama-nano --tokenizer bpe:1024 --context-len 128 --chat-tokens --batch-size 16",
        steps: 700,
        speaks: true,
        charts: &[Chart {
            title: "Loss",
            unit: "nats per token",
            lines: &[
                line("step", "loss", "of each step"),
                line("eval", "val_loss", "on held-out stories"),
                line("start", "floor", "the floor"),
            ],
        }],
    },
    Chapter {
        name: "2-answers",
        title: "Supervised fine-tuning: from words to answers",
        text: "The model is shown conversations about people of the stories' world and learns to say what the assistant \
               says in them; only the assistant's tokens count. Nothing but the data has changed since chapter 1.",
        command: "sft --model {1-base} --data lessons --examples 60000 --exam 180 --packing --batch-size 20 --lr 1e-3",
        steps: 2000,
        speaks: true,
        charts: &[
            Chart {
                title: "Loss",
                unit: "nats per answer token",
                lines: &[
                    line("step", "loss", "of each step"),
                    line("eval", "held_out_loss", "on held-out conversations"),
                ],
            },
            ANSWERED,
        ],
    },
    Chapter {
        name: "3-manners",
        title: "A mixed crowd: demonstrations of all kinds of manners",
        text: "Who writes demonstrations is not always polite, helpful or honest. Half of these answers are the better \
               one of a comparison, half the worse one. The model now says each of them now and then: that is what \
               comparisons can improve.",
        command: "sft --model {2-answers} --data manners --exam 150 --packing --batch-size 16 --lr 5e-4",
        steps: 250,
        speaks: true,
        charts: &[
            Chart {
                title: "Loss",
                unit: "nats per answer token",
                lines: &[line("step", "loss", "of each step")],
            },
            JUDGED,
        ],
    },
    Chapter {
        name: "4-judge",
        title: "Reward model: which of two answers do people prefer?",
        text: "A copy of the model gets a head that says one number, and learns from pairs of answers to give the \
               preferred one the higher number (Bradley and Terry). It never learns what is right, only what is \
               preferred.",
        command: "reward --model {3-manners} --data preferences --examples 30000 --exam 300 --batch-size 32 --lr 5e-4",
        steps: 750,
        speaks: false,
        charts: &[
            Chart { title: "Loss", unit: "nats per pair", lines: &[line("step", "loss", "of each step")] },
            Chart {
                title: "Held-out pairs",
                unit: "share",
                lines: &[line("eval", "held_out_accuracy", "the preferred answer got more")],
            },
        ],
    },
    Chapter {
        name: "5-ppo",
        title: "PPO: learning from the judge",
        text: "The model answers, the judge of chapter 4 says what the answer is worth, and tokens that led to more than \
               the critic expected become likelier. Each nat by which the model leaves what it was costs a little, so \
               that it does not learn to please the judge with nonsense.",
        command: "ppo --model {3-manners} --judge {4-judge} --data preferences --exam 150 --batch-size 64 --lr 1e-4",
        steps: 25,
        speaks: true,
        charts: &[
            REWARD,
            Chart {
                title: "Distance to the model of chapter 3",
                unit: "nats an answer",
                lines: &[line("step", "kl", "KL divergence")],
            },
            JUDGED,
        ],
    },
    Chapter {
        name: "6-dpo",
        title: "DPO: the same without a judge",
        text: "The comparisons of chapter 4 can teach the model itself: the preferred answer shall become likelier, the \
               other one less likely, measured against what the model was. No answer is drawn, no judge is asked.",
        command: "dpo --model {3-manners} --data preferences --exam 150 --batch-size 32 --lr 1e-4 --beta 0.5 \
                  --sft-weight 0.1",
        steps: 150,
        speaks: true,
        charts: &[
            Chart { title: "Loss", unit: "nats per pair", lines: &[line("step", "loss", "of each step")] },
            JUDGED,
        ],
    },
    Chapter {
        name: "7-honest",
        title: "GRPO: rewards that are checked, not learnt",
        text: "The model of chapter 2 is asked about three people at once, which no lesson does. It answers each question \
               eight times, a program checks the answers, and what did better than the others of its group becomes \
               likelier. A wrong answer costs four points, one that is wrong but hedged two; not to know costs nothing. \
               So it pays to say so.",
        command: "grpo --model {2-answers} --data task:stories_qa:4 --turns --exam 150 --batch-size 16 --lr 2e-4 \
                  --micro-batch 128",
        steps: 80,
        speaks: true,
        charts: &[
            REWARD,
            Chart {
                title: "What held-out answers are worth",
                unit: "points, by the verifier",
                lines: &[line("eval", "exam_reward", "mean reward")],
            },
        ],
    },
];
