/** The colour map viridis (van der Walt and Smith 2015): even to the eye, also in grey and to the colour-blind. */
const STOPS = ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"].map(
  (hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)),
);

/** Red, green and blue, each from 0 to 255, of a share from 0 to 1. */
export function viridis(share: number): [number, number, number] {
  const at = Math.min(1, Math.max(0, share)) * (STOPS.length - 1);
  const before = Math.min(STOPS.length - 2, Math.floor(at));
  const mix = (c: number) =>
    Math.round(STOPS[before]![c]! + (at - before) * (STOPS[before + 1]![c]! - STOPS[before]![c]!));
  return [mix(0), mix(1), mix(2)];
}
