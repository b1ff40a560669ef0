import { Cloche } from "cloche/node";

const cloche = await Cloche.create({ device: process.argv[2] });
for await (const event of cloche.grow({ data: "stories", preset: "tiny", contextLen: 32, batchSize: 2, steps: 5 })) {
  if (event.event === "step") console.log(`step ${event.step}: loss ${event.loss.toFixed(2)} on ${cloche.device.kind}`);
}
for await (const piece of cloche.generate("Once there was", { maxTokens: 20 })) process.stdout.write(piece);
cloche.dispose();
