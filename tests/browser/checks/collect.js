/** All events of a run, for checks in a page. @param {AsyncIterable<any>} run @returns {Promise<any[]>} */
export async function collect(run) {
  const events = [];
  for await (const event of run) events.push(event);
  return events;
}
