//! The raw JavaScript side, where wgpu's web backend is not enough: what the adapter says of itself, whether
//! there is WebGPU at all (wgpu panics outside pages and workers), error scopes and the device's two events
//! (wgpu panics on a `GPUInternalError`).

use std::cell::RefCell;

use js_sys::{Array, Function, Object, Promise, Proxy, Reflect};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::{
    device::{AdapterClass, AdapterFeatures, AdapterInfo},
    error::{Faults, GpuError, Kind, Subject},
    queue::Signal,
};

#[wasm_bindgen]
extern "C" {
    /// `GPUDevice`.
    type RawDevice;
    #[wasm_bindgen(method, js_name = pushErrorScope)]
    fn push_error_scope(this: &RawDevice, filter: &str);
    #[wasm_bindgen(method, js_name = popErrorScope)]
    fn pop_error_scope(this: &RawDevice) -> Promise;
    #[wasm_bindgen(method, js_name = addEventListener)]
    fn add_event_listener(this: &RawDevice, event: &str, listener: &JsValue);
    #[wasm_bindgen(method, getter)]
    fn lost(this: &RawDevice) -> Promise;
}

fn raw(device: &wgpu::Device) -> RawDevice {
    let device: &JsValue = device.as_webgpu().expect("the only backend of this target").as_ref();
    device.clone().unchecked_into()
}

/// `object.name`, or undefined when that is missing or `object` is no object: JavaScript's `object?.name`.
fn member(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

fn text(object: &JsValue, name: &str) -> String {
    member(object, name).as_string().unwrap_or_default()
}

/// Whether an adapter or a device has a feature.
fn has(object: &JsValue, feature: &str) -> bool {
    let features = member(object, "features");
    let test = member(&features, "has").dyn_into::<Function>();
    test.and_then(|test| test.call1(&features, &feature.into())).is_ok_and(|found| found.is_truthy())
}

/// Whether `navigator.gpu` exists and wgpu would find it.
pub(crate) fn has_webgpu() -> bool {
    let global: JsValue = js_sys::global().into();
    let known = ["Window", "WorkerGlobalScope"].iter().any(|name| !member(&global, name).is_undefined());
    known && member(&member(&global, "navigator"), "gpu").is_object()
}

/// What the adapter that `force_fallback` selects says of itself. wgpu passes on its description only, and hides
/// vendor and architecture, without which SwiftShader cannot be told from a GPU in every browser.
pub(crate) async fn describe_adapter(force_fallback: bool) -> Option<AdapterInfo> {
    let gpu = member(&member(&js_sys::global().into(), "navigator"), "gpu");
    let options = Object::new();
    let _ = Reflect::set(&options, &"powerPreference".into(), &"high-performance".into());
    let _ = Reflect::set(&options, &"forceFallbackAdapter".into(), &force_fallback.into());
    let request: Function = member(&gpu, "requestAdapter").dyn_into().ok()?;
    let promise: Promise = request.call1(&gpu, &options).ok()?.dyn_into().ok()?;
    let adapter = JsFuture::from(promise).await.ok().filter(JsValue::is_object)?;

    let info = member(&adapter, "info");
    let [vendor, architecture, device, description] =
        ["vendor", "architecture", "device", "description"].map(|name| text(&info, name));
    // The flag has moved from the adapter to its info; older browsers have it in the old place.
    let fallback = [&info, &adapter].iter().any(|object| member(object, "isFallbackAdapter").is_truthy());
    let words = format!("{vendor} {architecture} {device} {description}");
    let name = [description, device, format!("{vendor} {architecture}").trim().to_owned()]
        .into_iter()
        .find(|name| !name.is_empty());
    Some(AdapterInfo {
        name: name.unwrap_or_else(|| "unnamed adapter".into()),
        class: AdapterClass::from_words(fallback, &words),
        vendor,
        backend: "webgpu",
        driver: architecture,
        features: AdapterFeatures {
            f16: has(&adapter, "shader-f16"),
            subgroups: has(&adapter, SUBGROUPS),
            timestamps: has(&adapter, "timestamp-query"),
        },
        lanes: None,
    })
}

const SUBGROUPS: &str = "subgroups";

/// Whether a device got what [`with_subgroups`] asked for: where `GPUAdapter` is not known by name, nobody asked.
pub(crate) fn has_subgroups(device: &wgpu::Device) -> bool {
    has(&raw(device), SUBGROUPS)
}

/// Lets `request` ask an adapter for a device, and for subgroups with it, for which wgpu's web backend has no name
/// (gfx-rs/wgpu#10146).
pub(crate) fn with_subgroups<T>(request: impl FnOnce() -> T) -> T {
    const METHOD: &str = "requestDevice";
    let adapters = member(&member(&js_sys::global().into(), "GPUAdapter"), "prototype");
    let Ok(original) = member(&adapters, METHOD).dyn_into::<Function>() else { return request() };
    let ask = Closure::<dyn FnMut(Function, JsValue, Array) -> JsValue>::new(
        |original: Function, adapter: JsValue, arguments: Array| {
            member(&arguments.get(0), "requiredFeatures").unchecked_into::<Array>().push(&SUBGROUPS.into());
            // What fails is a promise as well.
            Reflect::apply(&original, &adapter, &arguments).unwrap_or_default()
        },
    );
    let handler = Object::new();
    let _ = Reflect::set(&handler, &"apply".into(), ask.as_ref());
    let _ = Reflect::set(&adapters, &METHOD.into(), &Proxy::new(&original, &handler));
    let device = request();
    let _ = Reflect::set(&adapters, &METHOD.into(), &original);
    device
}

/// Error scopes that have been closed but may not have answered yet.
#[derive(Default)]
pub(crate) struct Scopes(RefCell<Vec<Signal<()>>>);

/// What the scopes around a call catch, the outermost first.
const KINDS: [Kind; 3] = [Kind::Internal, Kind::Validation, Kind::OutOfMemory];

impl Scopes {
    pub(crate) fn guarded<T>(
        &self,
        device: &wgpu::Device,
        faults: &Faults,
        subject: Subject,
        create: impl FnOnce() -> T,
    ) -> T {
        let device = raw(device);
        KINDS.iter().for_each(|kind| device.push_error_scope(filter(*kind)));
        let number = faults.number();
        let made = create();
        self.close(&device, faults, number, subject);
        made
    }

    /// Closes the three scopes of [`Scopes::guarded`] and sees to their answers when they come.
    fn close(&self, device: &RawDevice, faults: &Faults, number: u64, subject: Subject) {
        let answers = KINDS.map(|_| device.pop_error_scope()); // the innermost first
        let (faults, answered) = (faults.clone(), Signal::new());
        let mut waiting = self.0.borrow_mut();
        waiting.retain(|answer| !answer.is_set());
        waiting.push(answered.clone());
        spawn_local(async move {
            for (kind, answer) in KINDS.into_iter().rev().zip(answers) {
                // Null: nothing was caught. A rejection: the device is lost, which `listen` reports.
                if let Ok(error) = JsFuture::from(answer).await
                    && error.is_object()
                {
                    let text = text(&error, "message") + &compiler_words(&subject).await;
                    faults.scoped(number, subject.error(kind, text));
                }
            }
            answered.set(());
        });
    }

    /// Waits for the answers to all scopes so far.
    pub(crate) async fn settle(&self) {
        for answer in self.0.take() {
            answer.wait().await;
        }
    }
}

/// What a kernel's compiler found, a line for each error. Only Firefox needs to be asked for it: Chromium says
/// it in the error as well, with the line of the source.
async fn compiler_words(subject: &Subject) -> String {
    let Subject::Kernel { module, .. } = subject else { return String::new() };
    let Some(module) = module.get() else { return String::new() };
    let messages = module.get_compilation_info().await.messages;
    let errors = messages.iter().filter(|one| one.message_type == wgpu::CompilationMessageType::Error);
    errors.map(|one| format!("\n{}", one.message.trim())).collect()
}

/// While it lives, submits nothing every few milliseconds. Firefox looks for finished work when something is
/// submitted, and else ten times a second only: without this each readback takes 100 ms there.
pub(crate) struct Nudge {
    timer: JsValue,
    _tick: Closure<dyn FnMut()>,
}

impl Nudge {
    pub(crate) fn new(queue: &wgpu::Queue) -> Nudge {
        let queue = queue.clone();
        let tick = Closure::<dyn FnMut()>::new(move || {
            queue.submit(None);
        });
        Nudge { timer: global_call("setInterval", &[tick.as_ref(), &NUDGE_MS.into()]), _tick: tick }
    }
}

/// Longer than a readback takes in Chromium, which needs no nudge.
const NUDGE_MS: u32 = 2;

impl Drop for Nudge {
    fn drop(&mut self) {
        global_call("clearInterval", &[&self.timer]);
    }
}

/// Waits for that long, or a little longer.
pub(crate) async fn sleep(milliseconds: u32) {
    let promise = Promise::new(&mut |resolve, _| {
        global_call("setTimeout", &[resolve.as_ref(), &milliseconds.into()]);
    });
    let _ = JsFuture::from(promise).await;
}

fn global_call(name: &str, arguments: &[&JsValue]) -> JsValue {
    let global: JsValue = js_sys::global().into();
    let arguments: Array = arguments.iter().copied().collect();
    let function = member(&global, name).dyn_into::<Function>();
    function.and_then(|function| function.apply(&global, &arguments)).unwrap_or(JsValue::UNDEFINED)
}

fn filter(kind: Kind) -> &'static str {
    match kind {
        Kind::OutOfMemory => "out-of-memory",
        Kind::Validation => "validation",
        Kind::Internal => "internal",
    }
}

/// Lets the device's loss, and every error outside a scope, fall into `faults`.
pub(crate) fn listen(device: &wgpu::Device, faults: &Faults) {
    let device = raw(device);
    let (loss, stray) = (faults.clone(), faults.clone());
    let lost = device.lost();
    spawn_local(async move {
        if let Ok(info) = JsFuture::from(lost).await {
            let (reason, message) = (text(&info, "reason"), text(&info, "message"));
            loss.lose(if message.is_empty() { reason } else { message });
        }
    });
    let listener = Closure::<dyn FnMut(JsValue)>::new(move |event: JsValue| {
        let error = member(&event, "error");
        let kind = match text(&member(&error, "constructor"), "name").as_str() {
            "GPUOutOfMemoryError" => Kind::OutOfMemory,
            "GPUInternalError" => Kind::Internal,
            _ => Kind::Validation,
        };
        stray.unscoped(kind, text(&error, "message"));
    });
    // The listener goes to JavaScript's garbage collector, to live exactly as long as the device does.
    device.add_event_listener("uncapturederror", &listener.into_js_value());
}

/// The error of a page without WebGPU.
pub(crate) fn no_webgpu() -> GpuError {
    GpuError::NoAdapter { reason: "this browser offers none here".into() }
}
