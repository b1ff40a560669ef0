/** The package's worker where the browser gives a page no file system, as in some private windows. */
// @ts-ignore: the server has it there
import "/pkg/worker.js";

// The worker asks for it later than now.
navigator.storage.getDirectory = () => Promise.reject(new DOMException("no", "SecurityError"));
