//! Measurements where the engine runs: `cargo xtask bench web` calls each in Chromium.

use crate::self_test::open;
use crate::{error, thrown};
use cloche_models::config::preset;
use cloche_tensor::{DType, Device, Graph};
use cloche_train::data::{Corpus, TokenBuffer};
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
use cloche_train::settings::Settings;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use web_time::Instant;

/// Seconds that a measurement takes at least, after a warm-up.
const SECONDS: f64 = 2.0;

/// Multiplies two square matrices again and again; resolves to GFLOP/s.
#[wasm_bindgen(js_name = benchMatmul)]
pub async fn bench_matmul(device: String, n: usize) -> Result<f64, JsValue> {
    let device = open(&device).await?;
    matmul(&device, n).await.map_err(|e| error("BENCH", &e.to_string()))
}

async fn matmul(device: &Device, n: usize) -> Result<f64, cloche_tensor::Error> {
    let graph = Graph::new();
    let x = graph.input("x", (n, n), DType::F32);
    let w = graph.input("w", (n, n), DType::F32);
    let y = x.matmul(&w);
    // One number of the product is read back, so that reading costs nothing.
    let corner = y.slice(0, 0, 1).slice(1, 0, 1);
    let mut program = device.compile(&graph, &[("y", &y), ("corner", &corner)], &[])?;
    let identity: Vec<f32> = (0..n * n).map(|i| if i % (n + 1) == 0 { 2.0 } else { 0.0 }).collect();
    program.write("x", &identity);
    program.write("w", &identity);
    program.run();
    assert_eq!(
        program.read("corner").await?.f32(),
        [4.0],
        "the product is wrong, so its speed means nothing"
    );
    let (began, mut runs) = (Instant::now(), 0);
    while began.elapsed().as_secs_f64() < SECONDS {
        for _ in 0..4 {
            program.run();
            program.throttle().await;
            runs += 1;
        }
        program.read("corner").await?;
    }
    Ok(2.0 * (n as f64).powi(3) * f64::from(runs) / began.elapsed().as_secs_f64() / 1e9)
}

/// Trains a preset for some steps; resolves to milliseconds a step.
#[wasm_bindgen(js_name = benchStep)]
pub async fn bench_step(device: String, preset_name: String, steps: u32) -> Result<f64, JsValue> {
    let device = open(&device).await?;
    let preset = preset(&preset_name).map_err(|e| error("SETTINGS", &e.to_string()))?;
    let mut settings = Settings::from_preset(preset, 65);
    settings.steps = steps.into();
    settings.eval_every = 0;
    settings.eval_batches = 1;
    settings.checkpoint_every = 0;
    let ids: Vec<u32> =
        (0..100_000).map(|i: u32| i.wrapping_mul(2_654_435_761) >> 16).map(|i| i % 65).collect();
    let tokens = Rc::new(TokenBuffer::from_ids(&ids, 65));
    let corpus = Corpus::new(tokens.clone(), tokens, 65, None).map_err(|e| thrown(&e.into()))?;
    let tokens_per_step = settings.tokens_per_step() as f64;
    let mut stage = Run::new(&device, settings, corpus, None).map_err(|e| thrown(&e))?.stage();
    let mut tokens_per_s = 0.0;
    while let Some(event) = stage.next().await {
        if let Event::Step(step) = event.map_err(|e| thrown(&e))? {
            tokens_per_s = f64::from(step.tokens_per_s);
        }
    }
    Ok(1000.0 * tokens_per_step / tokens_per_s)
}
