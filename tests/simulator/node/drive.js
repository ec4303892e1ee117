// Makes the calls that standard input lists, one after the other, with the official SDK; prints what each gave.
"use strict";

const flock = require("flockos");
const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
flock.baseUrl = input.baseUrl;

function call(step) {
  return new Promise((resolve) => {
    const done = (error, value) => {
      if (error) {
        resolve({
          error: error.name,
          status: error.statusCode,
          code: error.errorCode,
          message: error.message,
          attributes: error.additionalAttributes,
        });
      } else {
        resolve({ value });
      }
    };
    if (step.via === "callMethod") {
      flock.callMethod(step.method, step.token, step.parameters, done);
    } else {
      const [namespace, name] = step.method.split(".");
      flock[namespace][name](step.token, step.parameters, done);
    }
  });
}

(async () => {
  const outcomes = [];
  for (const step of input.calls) outcomes.push(await call(step));
  console.log(JSON.stringify(outcomes));
})();
