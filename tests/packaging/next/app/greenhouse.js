"use client";

import { Cloche } from "cloche";
import "cloche/elements";
import { useState } from "react";

export default function Greenhouse() {
  const [loss, setLoss] = useState("");
  const [said, setSaid] = useState("");

  async function grow() {
    const cloche = await Cloche.create({ device: "cpu" });
    document.body.dataset.threads = cloche.device.threads;
    for await (const event of cloche.grow({ data: "stories", preset: "tiny", steps: 5 })) {
      if (event.event === "step") setLoss(`step ${event.step}: loss ${event.loss.toFixed(2)}`);
    }
    for await (const piece of cloche.generate("Once there was", { maxTokens: 20 })) setSaid((text) => text + piece);
    cloche.dispose();
  }

  return (
    <>
      <button id="grow" onClick={grow}>
        Grow
      </button>
      <p id="loss">{loss}</p>
      <p id="said">{said}</p>
      <cloche-trainer preset="tiny" steps="5" device="cpu" />
      <cloche-prompt max-tokens="20" />
    </>
  );
}
