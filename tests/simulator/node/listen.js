// The SDK's event listener behind express: prints its port, then every event that passed the SDK's verification.
"use strict";

const flock = require("flockos");
const express = require("express");
const settings = JSON.parse(process.argv[2]);
flock.appId = settings.appId;
flock.appSecret = settings.appSecret;

// The SDK logs to standard output, which is where we report.
console.log = () => {};
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");

for (const name of settings.names) {
  flock.events.on(name, (event, callback) => {
    say({ event });
    callback(null, {});
  });
}
const app = express();
app.use("/events", flock.events.listener);
const server = app.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
process.stdin.on("end", () => process.exit(0)).resume();
