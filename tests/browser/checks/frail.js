/**
 * The package's worker on a graphics device that fails when it is told to: `{ lose: true }` destroys it, and `{ refuse: n }`
 * leaves no room for the nth buffer from then on. What lives on it is told when it is asked for. With `?real` in its address
 * the adapter passes for hardware, and after `{ lose: true, forGood: true }` there is none any more.
 */
// @ts-ignore: the server has it there
import "/pkg/worker.js";

// The worker asks for a device later than now.
/** @type {GPUDevice[]} */
const devices = [];
/** Buffers that live, on all devices. @type {Set<object>} */
const buffers = new Set();
/** For each error scope that is open, whether it waits for want of memory, and what it has caught. @type {{ filter: string, caught: GPUError | null }[]} */
const scopes = [];
let left = Infinity;

const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  devices.push(device);
  return device;
};
const device = GPUDevice.prototype;
const { pushErrorScope, popErrorScope, createBuffer } = device;
const { destroy } = GPUBuffer.prototype;
device.pushErrorScope = function (filter) {
  scopes.push({ filter, caught: null });
  pushErrorScope.call(this, filter);
};
device.popErrorScope = async function () {
  const scope = scopes.pop();
  return (await popErrorScope.call(this)) ?? scope?.caught ?? null;
};
device.createBuffer = function (descriptor) {
  const scope = scopes.findLast(({ filter }) => filter === "out-of-memory");
  if (left-- === 0 && scope) scope.caught = new GPUOutOfMemoryError("not enough memory left");
  const buffer = createBuffer.call(this, descriptor);
  buffers.add(buffer);
  return buffer;
};
GPUBuffer.prototype.destroy = function () {
  buffers.delete(this);
  destroy.call(this);
};

if (location.search === "?real") {
  for (const name of ["vendor", "architecture", "device", "description"]) {
    Object.defineProperty(GPUAdapterInfo.prototype, name, { get: () => "made up" });
  }
  Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
}

const faults = new BroadcastChannel("faults");
faults.onmessage = ({ data }) => {
  if (data.forGood) navigator.gpu.requestAdapter = async () => null;
  if (data.lose) devices.at(-1)?.destroy();
  if (data.refuse !== undefined) left = data.refuse;
  if (data.ask) faults.postMessage({ devices: devices.length, buffers: buffers.size, left });
};
