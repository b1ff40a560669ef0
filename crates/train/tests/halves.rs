//! Runs whose activations are kept in half precision: what they take, what they learn, and how they go on.

mod runs;

use cloche_models::config::preset;
use cloche_tensor::Device;
use cloche_train::checkpoint;
use cloche_train::cost::{cost, cost_recomputing};
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
use cloche_train::reference::reference_run;
use cloche_train::settings::{Activations, Settings};
use runs::{checkpoints, finish, losses};

fn halved(settings: &Settings) -> Settings {
    Settings { activations: Activations::F16, ..settings.clone() }
}

fn run(settings: &Settings) -> Vec<Event> {
    let (_, corpus) = reference_run().unwrap();
    finish(Run::new(&Device::cpu(), settings.clone(), corpus, None).unwrap())
}

#[test]
fn a_step_takes_much_less_memory() {
    let peak = |settings: &Settings, layers| {
        cost_recomputing(&Device::cpu(), settings, layers).unwrap().peak_bytes as f64
    };
    for (name, most) in [("nano", 0.76), ("mini", 0.65), ("llama-mini", 0.64)] {
        let settings = Settings::from_preset(preset(name).unwrap(), 65);
        let (kept, halves) = (peak(&settings, 0), peak(&halved(&settings), 0));
        assert!(halves < most * kept, "{name}: {halves} of {kept}");
        // Blocks can be computed again besides: what is kept then, their ends, is halved too.
        let (again, both) =
            (peak(&settings, settings.model.n_layer), peak(&halved(&settings), settings.model.n_layer));
        assert!(both < again && both <= halves, "{name}: {both} of {again}");
    }
}

#[test]
fn a_budget_sees_it() {
    let settings = Settings::from_preset(preset("nano").unwrap(), 65);
    let bytes = cost(&Device::cpu(), &halved(&settings), None).unwrap().cost.peak_bytes;
    let recomputed = |settings: &Settings| {
        let settings = Settings { memory_budget: Some(bytes), ..settings.clone() };
        cost(&Device::cpu(), &settings, None).unwrap().recomputed_layers
    };
    assert_eq!(recomputed(&halved(&settings)), 0);
    assert!(recomputed(&settings) > 0);
}

#[test]
fn it_learns_as_much_and_the_same_in_every_run() {
    let (settings, _) = reference_run().unwrap();
    let (exact, found) = (losses(&run(&settings)), losses(&run(&halved(&settings))));
    assert_ne!(exact, found, "nothing was rounded");
    for (found, exact) in found.iter().zip(&exact) {
        assert!((found / exact - 1.0).abs() < 1e-3, "{found} {exact}");
    }
    assert_eq!(losses(&run(&halved(&settings))), found);
    // The gradients of micro-batches are those of smaller batches.
    let accumulated = halved(&Settings { grad_accumulation: 2, ..settings });
    assert!(losses(&run(&accumulated)).iter().zip(&exact).all(|(a, b)| (a / b - 1.0).abs() < 0.1));
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let (settings, corpus) = reference_run().unwrap();
    let events = run(&Settings { steps: 6, checkpoint_every: 3, eval_every: 0, ..halved(&settings) });
    let saved = checkpoints(&events);
    let [(3, half_way), (6, whole)] = saved[..] else { panic!("{} checkpoints", saved.len()) };
    let opened = checkpoint::open::<Settings>(half_way.clone()).unwrap();
    assert_eq!(opened.state.settings.activations, Activations::F16);
    let resumed = finish(Run::resume(&Device::cpu(), opened, corpus, None).unwrap());
    assert!(checkpoints(&resumed).last().unwrap().1 == whole, "files differ");
}

#[test]
fn settings_that_do_not_say_keep_f32() {
    let (settings, _) = reference_run().unwrap();
    let mut json = serde_json::to_value(halved(&settings)).unwrap();
    assert_eq!(json["activations"], "f16");
    assert_eq!(serde_json::from_value::<Settings>(json.clone()).unwrap(), halved(&settings));
    json["activations"] = "f8".into();
    let error = serde_json::from_value::<Settings>(json.clone()).unwrap_err().to_string();
    assert_eq!(error, "unknown variant `f8`, expected `f32` or `f16`");
    json.as_object_mut().unwrap().remove("activations");
    assert_eq!(serde_json::from_value::<Settings>(json).unwrap(), settings);
    assert_eq!((Activations::named("f16"), Activations::named("bf16")), (Some(Activations::F16), None));
}
