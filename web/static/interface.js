// The list of paths, from the server's own OpenAPI document.

import { byId, el } from "./dom.js";
import { get } from "./api.js";

const fieldsOf = (operation, schemas) => {
  const schema = operation.requestBody?.content?.["multipart/form-data"]?.schema;
  const resolved = schema?.$ref ? schemas[schema.$ref.split("/").at(-1)] : schema;
  return Object.keys(resolved?.properties ?? {});
};

const { paths, components } = await get("/openapi.json");
for (const [path, methods] of Object.entries(paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const fields = fieldsOf(operation, components?.schemas ?? {});
    byId("paths").append(
      el("dt", {}, `${method.toUpperCase()} ${path}`),
      el("dd", {}, `${operation.description ?? operation.summary}${fields.length ? ` Fields: ${fields.join(", ")}.` : ""}`));
  }
}
