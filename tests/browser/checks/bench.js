/** A worker that `cargo xtask bench` gives orders; its address says which device, what it is called, and how many threads it has. */
import { contestant, obeyMessages } from "./contestant.js";
import { start } from "./start.js";

const asked = new URLSearchParams(location.search);
const [which = "cpu", name = "wasm", device] = ["which", "name", "device"].map((key) => asked.get(key) ?? undefined);
const load = (/** @type {string} */ file) => import(`/wasm/${file}`);

// At once, or the first order would come while nobody listens.
obeyMessages(contestant(load, undefined, which, { name, device, threads: Number(asked.get("threads") ?? 1), start }));
