/** A small static server on 127.0.0.1 for the folders that the tests need. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

/** @type {Record<string, string>} */
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
};

/** What a careful host allows: no cross-origin isolation, and nothing that the page did not bring along. */
export const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";

/** What a host sends along that lets its pages have memory which threads share. */
export const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

/**
 * Serves each folder under its prefix, or a single file under its name.
 * @param {Record<string, string>} folders prefix (such as "/pkg/") to folder
 * @param {string} [policy]
 * @param {Record<string, string>} [headers] more of them
 * @returns {Promise<{ origin: string, close: () => void }>}
 */
export async function serveFolders(folders, policy = POLICY, headers = {}) {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname));
    const prefix = Object.keys(folders).find((candidate) => path.startsWith(candidate));
    let file = prefix && join(/** @type {string} */ (folders[prefix]), path.slice(prefix.length));
    if (file && path.endsWith("/")) file = join(file, "index.html");
    const found = file ? await stat(file).catch(() => undefined) : undefined;
    if (!file || !found?.isFile()) return void response.writeHead(404).end();
    response.writeHead(200, {
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "content-length": found.size,
      "content-security-policy": policy,
      ...headers,
    });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { origin: `http://127.0.0.1:${address.port}`, close };
}
