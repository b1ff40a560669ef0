/**
 * Is there a WebGPU at all? Doubles 1000 numbers with a kernel of four lines, without a line of ours in between, so
 * that a failure here is the browser's or the driver's and a failure elsewhere is ours.
 */
const KERNEL = `
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&x)) { x[id.x] = 2 * x[id.x]; }
}`;
const N = 1000;
// GPUBufferUsage and GPUMapMode as numbers: Node's WebGPU does not make them globals.
const STORAGE = 0x80, COPY_SRC = 0x4, COPY_DST = 0x8, MAP_READ = 0x1, MAP_MODE_READ = 0x1;

/** Resolves to the adapter's name; throws where anything is missing or wrong. */
export async function probe() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error("no WebGPU adapter");
  const device = await adapter.requestDevice();
  const x = device.createBuffer({ size: 4 * N, usage: STORAGE | COPY_SRC | COPY_DST });
  const back = device.createBuffer({ size: 4 * N, usage: MAP_READ | COPY_DST });
  device.queue.writeBuffer(x, 0, Float32Array.from({ length: N }, (_, i) => i));
  const module = device.createShaderModule({ code: KERNEL });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: x } }],
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(Math.ceil(N / 64));
  pass.end();
  encoder.copyBufferToBuffer(x, 0, back, 0, 4 * N);
  device.queue.submit([encoder.finish()]);
  await back.mapAsync(MAP_MODE_READ);
  const y = new Float32Array(back.getMappedRange());
  const wrong = y.findIndex((value, i) => value !== 2 * i);
  if (wrong >= 0) throw new Error(`doubled[${wrong}] is ${y[wrong]}, not ${2 * wrong}`);
  const { vendor, architecture, description } = adapter.info;
  device.destroy();
  return [vendor, architecture, description].filter(Boolean).join(" ");
}

/**
 * The browser's own compiler accepts every kernel, those for GPUs too, which no adapter here would be given otherwise.
 * @param {string[]} texts each begins with a comment that names it
 */
export async function compileAll(texts) {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter?.requestDevice();
  if (!device) throw new Error("no WebGPU device");
  for (const code of texts) {
    const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
    const wrong = messages.find((message) => message.type === "error");
    if (wrong) throw new Error(`${code.split("\n")[0]}, line ${wrong.lineNum}: ${wrong.message}`);
  }
  device.destroy();
  return `${texts.length} shaders`;
}
