import { Cloche } from "cloche/inline";

const [loss, said] = ["#loss", "#said"].map((id) => document.querySelector(id));

document.querySelector("#grow").addEventListener("click", async () => {
  const cloche = await Cloche.create({ device: "cpu" });
  document.body.dataset.threads = cloche.device.threads;
  for await (const event of cloche.grow({ data: "stories", preset: "tiny", steps: 5 })) {
    if (event.event === "step") loss.textContent = `step ${event.step}: loss ${event.loss.toFixed(2)}`;
  }
  for await (const piece of cloche.generate("Once there was", { maxTokens: 20 })) said.textContent += piece;
  cloche.dispose();
});
