/** Numbers as people read them. */

/** 803,000 → "803 thousand", 10,700,000 → "10.7 million". */
export function large(n: number): string {
  if (n < 10_000) return n.toLocaleString("en");
  if (n < 1_000_000) return `${Math.round(n / 1000)} thousand`;
  return `${(n / 1_000_000).toFixed(n < 100_000_000 ? 1 : 0)} million`;
}

/** Seconds → "under 1 s", "40 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 1) return "under 1 s";
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** Bytes → "12 KB", "340 MB". */
export function bytes(n: number): string {
  if (n < 1e6) return `${Math.ceil(n / 1e3)} KB`;
  if (n < 1e9) return `${Math.round(n / 1e6)} MB`;
  return `${(n / 1e9).toFixed(1)} GB`;
}
