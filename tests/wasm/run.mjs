// Starts CPython in node and hands the project over to it. Usage: node run.mjs PROJECT SITE PYODIDE ARGUMENT...
import { pathToFileURL } from "node:url";

const [project, site, pyodide, ...args] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${pyodide}/pyodide.mjs`));
const python = await loadPyodide({ env: { HOME: "/home/pyodide", PYTHONDONTWRITEBYTECODE: "1" } });
python.mountNodeFS("/project", project);
python.mountNodeFS("/site", site);
python.globals.set("ARGUMENTS", python.toPy(args));
process.exitCode = python.runPython(`
import os, sys
sys.dont_write_bytecode = True
sys.path[:0] = ["/project", "/site"]
os.chdir("/project")
from tests.wasm.inside import main
main(ARGUMENTS)
`);
