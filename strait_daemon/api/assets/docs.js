"use strict";
// Draws /openapi.json: every route, every type, every error. Everything is set as text, nothing as markup.

function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  for (const child of children.flat()) if (child !== null) node.append(child);
  return node;
}

// Text with `code` between backquotes.
function prose(text) {
  return (text || "").split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

const nameOf = (ref) => ref.split("/").pop();

function kindOf(schema) {
  if (!schema || Object.keys(schema).length === 0) return ["any JSON"];
  if (schema.$ref) return [el("a", { href: "#" + nameOf(schema.$ref) }, nameOf(schema.$ref))];
  const either = schema.anyOf || schema.oneOf;
  if (either) return either.flatMap((one, at) => (at ? [" or ", ...kindOf(one)] : kindOf(one)));
  if (schema.enum) return ["one of " + schema.enum.map((one) => JSON.stringify(one)).join(", ")];
  if (schema.type === "array") return ["list of ", ...kindOf(schema.items)];
  if (schema.type === "object" && typeof schema.additionalProperties === "object")
    return ["map to ", ...kindOf(schema.additionalProperties)];
  return [(schema.format ? schema.format + " " : "") + [].concat(schema.type || "any JSON").join(" or ") + bounds(schema)];
}

function bounds(schema) {
  const parts = [];
  if (schema.minimum !== undefined) parts.push("from " + schema.minimum);
  if (schema.maximum !== undefined) parts.push("to " + schema.maximum);
  if (schema.default !== undefined && schema.default !== null) parts.push("default " + JSON.stringify(schema.default));
  return parts.length ? " (" + parts.join(" ") + ")" : "";
}

function table(heads, rows) {
  return el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell))))));
}

const must = (required) => (required ? [" ", el("span", { class: "must" }, "required")] : []);

function operationSection(path, method, operation) {
  const section = el("section", { id: operation.operationId },
    el("h3", {}, el("span", { class: "verb " + method }, method.toUpperCase()), " ", el("code", {}, path)),
    el("p", {}, prose(operation.description)));
  if (operation.parameters.length)
    section.append(el("h4", {}, "Parameters"), table(["name", "in", "type", ""], operation.parameters.map((one) => [
      [el("code", {}, one.name), ...must(one.required)], one.in, kindOf(one.schema), prose(one.description)])));
  const body = operation.requestBody;
  if (body)
    section.append(el("h4", {}, "Body"), el("p", {}, kindOf(body.content["application/json"].schema),
      body.required ? "" : " (none at all is the same as {})"));
  section.append(el("h4", {}, "Answers"), table(["status", "body", ""], Object.entries(operation.responses).map(
    ([status, answer]) => [status, Object.entries(answer.content || {}).flatMap(([media, one]) => [
      ...kindOf(one.schema), " ", el("span", { class: "kind" }, media), " "]), prose(answer.description)])));
  return section;
}

function schemaSection(name, schema) {
  const required = new Set(schema.required || []);
  const section = el("section", { id: name }, el("h3", {}, el("code", {}, name)), el("p", {}, prose(schema.description)));
  if (schema.properties)
    section.append(table(["field", "type"], Object.entries(schema.properties).map(([field, one]) => [
      [el("code", {}, field), ...must(required.has(field))], kindOf(one)])));
  else section.append(el("p", {}, kindOf(schema)));
  return section;
}

function draw(api) {
  const page = document.getElementById("page");
  const contents = document.getElementById("contents");
  document.getElementById("version").textContent = api.info.version;
  page.append(el("h1", {}, api.info.title + " API"), el("p", {}, prose(api.info.description)),
    el("p", {}, "The document behind this page: ", el("a", { href: "/openapi.json" }, "/openapi.json"), ". Credential:"),
    el("pre", {}, "curl " + location.origin + "/v1/jobs -H \"Authorization: Bearer $INTERNAL_SECRET\""));
  const group = (title, about, links, sections) => {
    page.append(el("h2", {}, title), el("p", {}, prose(about)), ...sections);
    contents.append(el("h2", {}, title), el("ul", {}, links.map((link) => el("li", {}, link))));
  };
  for (const tag of api.tags) {
    const operations = Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods)
      .filter(([, operation]) => operation.tags.includes(tag.name)).map(([method, operation]) => [path, method, operation]));
    group(tag.name, tag.description,
      operations.map(([path, method, operation]) => el("a", { href: "#" + operation.operationId },
        el("span", { class: "verb " + method }, method.toUpperCase()), path.replace("/v1", ""))),
      operations.map((one) => operationSection(...one)));
  }
  const schemas = Object.entries(api.components.schemas);
  group("types", "Every body that is sent or answered.", schemas.map(([name]) => el("a", { href: "#" + name }, name)),
    schemas.map(([name, schema]) => schemaSection(name, schema)));
  const errors = api["x-problems"];
  group("errors", "Every error is an RFC 9457 problem with one of these codes.",
    errors.map((one) => el("a", { href: "#" + one.code }, one.code)),
    errors.map((one) => el("section", { id: one.code }, el("h3", {}, el("code", {}, one.code), " " + one.status),
      el("p", {}, prose(one.about)))));
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) target.scrollIntoView();
}

fetch("/openapi.json").then((answer) => answer.json()).then(draw).catch((error) => {
  document.getElementById("page").append(el("p", {}, "The document could not be read: " + error.message));
});
