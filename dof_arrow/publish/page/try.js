// Try it: the reader's own picture through the fused model. It is decoded and judged here; the page
// has no way to send it anywhere.
"use strict";

const MOST_PIXELS = 64e6;

const trying = { session: null };

/** The model, made ready at the first picture. */
async function session() {
  const { ort } = globalThis;
  ort.env.wasm.numThreads = 1; // more would need workers, which the page may not load
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmBinary = (await unpack(card.model.runtime)).buffer;
  const model = await unpack(card.model.model);
  return ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
}

/** A picture's pixels [h, w, c] of 8 bits, as Python decodes them: on white where transparent. */
async function decode(file) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  options.imageOrientation = card.model.turned ? "from-image" : "none";
  const bitmap = await createImageBitmap(file, options);
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(`${width} x ${height} pixels are more than this page takes`);
  const canvas = at("try-picture");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  canvas.classList.toggle("tiny", width < 96);
  canvas.style.width = width < 96 ? "192px" : "";
  canvas.hidden = false;
  at("try-hint").hidden = true;
  return { width, height, pixels: toChannels(context.getImageData(0, 0, width, height).data) };
}

/** Red, green, blue, or their grey by the weights of ITU-R 601 as Pillow rounds them. */
function toChannels(data) {
  const count = data.length / 4;
  if (card.model.grey) {
    return Uint8Array.from({ length: count }, (_, place) => {
      const [red, green, blue] = data.subarray(4 * place, 4 * place + 3);
      return (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16;
    });
  }
  const pixels = new Uint8Array(3 * count);
  for (let place = 0; place < count; place++) {
    pixels[3 * place] = data[4 * place];
    pixels[3 * place + 1] = data[4 * place + 1];
    pixels[3 * place + 2] = data[4 * place + 2];
  }
  return pixels;
}

/** What each head says of a picture file: a list of numbers by the name of its output. */
async function predict(file) {
  const { width, height, pixels } = await decode(file);
  trying.session ??= session();
  const running = await trying.session;
  const shape = [height, width, card.model.grey ? 1 : 3];
  const found = await running.run({ picture: new globalThis.ort.Tensor("uint8", pixels, shape) });
  return Object.fromEntries(card.model.heads.map(head => [head.output, Array.from(found[head.output].data)]));
}

async function answer(file) {
  const into = at("try-answer");
  into.replaceChildren(make("p", "said", trying.session ? "Looking…" : "Starting the model…"));
  try {
    const found = await predict(file);
    into.replaceChildren(...card.model.heads.flatMap(head => told(head, found[head.output])));
    into.dataset.found = JSON.stringify(found);
  } catch (error) {
    delete into.dataset.found;
    into.replaceChildren(make("p", "note", `This picture could not be judged: ${error.message ?? error}`));
  }
}

function told(head, values) {
  const title = make("h3", "", `${head.target}`);
  if (head.kind === "regression") return [title, make("p", "", `${short(values[0])} ${head.unit}`)];
  const order = [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, 10);
  const lines = order.map(place => [
    head.classes[place], `${(100 * values[place]).toFixed(1)}%`, stack([{ part: values[place] }], 1),
  ]);
  return [title, table("bars chances", "", ["Class", { text: "Probability", number: true }, { text: "", bar: true }], lines)];
}

function startTrying() {
  const { model } = card;
  at("try-said").textContent = `The model ${model.name} runs on your own picture, here in the browser. The picture does not leave this machine.`;
  const draft = model.draft ? " At extraction JPEG was decoded small, which no browser does: there the answers differ more." : "";
  at("try-note").textContent = `Run by onnxruntime-web ${model.runtime_version}. PNG gives the probabilities of dof predict; browsers may decode JPEG a little differently.${draft}`;
  const drop = at("try-drop");
  at("try-file").addEventListener("change", event => {
    if (event.target.files.length) answer(event.target.files[0]);
  });
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, event => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", event => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) answer(event.dataTransfer.files[0]);
  });
}

if (card.model) startTrying();
