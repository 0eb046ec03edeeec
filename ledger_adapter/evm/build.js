// Compile contracts/ and checks/ with the locked solc and write artefacts/, or another folder given
// as argument. Of checks/ (what the tests deploy) the same is written, no more.
"use strict";
const fs = require("fs");
const path = require("path");
const solc = require("solc");

const out = process.argv[2] || path.join(__dirname, "artefacts");
const sources = {};
for (const folder of ["contracts", "checks"]) {
  for (const name of fs.readdirSync(path.join(__dirname, folder)).sort()) {
    const file = path.join(__dirname, folder, name);
    sources[`${folder}/${name}`] = { content: fs.readFileSync(file, "utf8") };
  }
}
const settings = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 200 },
  // No hash of the sources at the end of the code: a comment changes no byte on the chain.
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};
const wanted = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"];
const input = {
  language: "Solidity",
  sources,
  settings: { ...settings, outputSelection: { "*": { "*": wanted } } },
};
const found = (name) => ({
  contents: fs.readFileSync(path.join(__dirname, "node_modules", name), "utf8"),
});
const result = JSON.parse(solc.compile(JSON.stringify(input), { import: found }));
const problems = result.errors || [];
for (const problem of problems) process.stderr.write(problem.formattedMessage + "\n");
if (problems.length) process.exit(1);

fs.mkdirSync(out, { recursive: true });
for (const file of Object.keys(sources)) {
  for (const [name, made] of Object.entries(result.contracts[file])) {
    if (!made.evm.bytecode.object || name === "RFC9162") continue;
    const artefact = {
      contract: name,
      compiler: solc.version(),
      settings,
      abi: made.abi,
      bytecode: "0x" + made.evm.bytecode.object,
      deployed_bytecode: "0x" + made.evm.deployedBytecode.object,
      storage: made.storageLayout.storage.map(({ label, slot, offset }) => ({ label, slot, offset })),
    };
    fs.writeFileSync(path.join(out, `${name}.json`), JSON.stringify(artefact, null, 1) + "\n");
  }
}
