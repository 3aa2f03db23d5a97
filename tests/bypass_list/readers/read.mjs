// Reads bodies as a bundler on Node does: one in base64 a line, one reading in JSON a line.
import { createInterface } from "node:readline";

const bits = (number) => {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, number + 0); // zero has one sign here
  return "n:" + view.getBigUint64(0).toString(16).padStart(16, "0");
};

const told = (value) => {
  if (typeof value === "number") return bits(value);
  if (Array.isArray(value)) return ["a", value.map(told)];
  if (value !== null && typeof value === "object") return ["o", Object.keys(value).map((key) => [key, told(value[key])])];
  return typeof value === "string" ? "s:" + value : value;
};

const request = (item) =>
  item !== null && typeof item === "object" && !Array.isArray(item)
    ? [typeof item.method === "string" ? item.method : null, told(item.params ?? null)]
    : null;

for await (const line of createInterface({ input: process.stdin })) {
  let reading = "error";
  try {
    const value = JSON.parse(new TextDecoder("utf-8").decode(Buffer.from(line, "base64")));
    reading = Array.isArray(value) ? value.map(request) : [request(value)];
  } catch {}
  process.stdout.write(JSON.stringify(reading) + "\n");
}
