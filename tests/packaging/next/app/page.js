import Greenhouse from "./greenhouse.js";

export default function Page() {
  return (
    <main>
      <h1>Rendered on a server</h1>
      <Greenhouse />
    </main>
  );
}
