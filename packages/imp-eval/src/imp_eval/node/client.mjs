// A client of the service outside Python: node client.mjs ADDRESS PROTO_ROOT IMAGE
// Prints one JSON object: what the server answers to each kind of call.
import fs from "node:fs";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address, root, image] = process.argv.slice(2);
const definition = loader.loadSync(
  ["imp_proto/v1/embedding.proto", "imp_proto/v1/retrieval.proto"],
  { includeDirs: [root], keepCase: true, longs: Number, defaults: true, oneofs: true },
);
const { imp } = grpc.loadPackageDefinition(definition);
const credentials = grpc.credentials.createInsecure();
const embedding = new imp.v1.EmbeddingService(address, credentials);
const classification = new imp.v1.ClassificationService(address, credentials);
const retrieval = new imp.v1.RetrievalService(address, credentials);

const call = (client, method, request) =>
  new Promise((resolve, reject) =>
    client[method](request, (error, response) => (error ? reject(error) : resolve(response))),
  );
const item = (input, target) => ({ input, target });
const picture = { image: fs.readFileSync(image) };
const words = { text: "a red thing" };

// One request for each text, all written before anything is read.
const streamed = await new Promise((resolve, reject) => {
  const stream = embedding.EmbedStream();
  const rows = [];
  stream.on("data", (response) => rows.push(...response.results.map((r) => r.embedding.values)));
  stream.on("error", reject);
  stream.on("end", () => resolve(rows));
  for (let i = 0; i < 20; i++) stream.write({ items: [item({ text: `word ${i}` }, "image")] });
  stream.end();
});
const model = await call(embedding, "GetModel", {});
const embedded = await call(embedding, "Embed", {
  items: [item(picture, "text"), item(words, "image"), item({ image: Buffer.from("?") }, "text")],
});
const classified = await call(classification, "Classify", {
  inputs: [picture],
  class_names: ["red", "green"],
});
await call(retrieval, "CreateCollection", {
  name: "node",
  modality: "image",
  query_modality: "text",
});
await call(retrieval, "Upsert", { collection: "node", items: [{ id: "one", input: picture }] });
const found = await call(retrieval, "Search", { collection: "node", input: words, k: 1 });
const refused = await call(embedding, "Embed", { items: [] }).catch((error) => error);

console.log(
  JSON.stringify({
    digest: model.digest,
    vectors: embedded.results.slice(0, 2).map((r) => r.embedding.values),
    failure: embedded.results[2].error,
    classes: classified.results[0].classes.classes.map((c) => c.class_name),
    hit: found.hits[0].id,
    streamed,
    refused: { code: refused.code, details: refused.details },
  }),
);
for (const client of [embedding, classification, retrieval]) client.close();
