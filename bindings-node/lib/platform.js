'use strict'
// What a build of the addon for this machine is called: `linux-x64-gnu`, `darwin-arm64`, `win32-x64-msvc`.

/** True if the C library of this Node is musl (Alpine). */
function isMusl() {
  if (process.platform !== 'linux') return false
  const report = /** @type {NodeJS.ProcessReport & { excludeNetwork?: boolean }} */ (process.report)
  // With the network interfaces, a report takes as long as its reverse look-ups.
  const excluded = report.excludeNetwork
  report.excludeNetwork = true
  try {
    const { header } = /** @type {{ header: { glibcVersionRuntime?: string } }} */ (report.getReport())
    return header.glibcVersionRuntime === undefined
  } finally {
    report.excludeNetwork = excluded
  }
}

/** The platform's name, as the packages with the built addons have it. */
function platformName() {
  const { platform, arch } = process
  if (platform === 'linux') return `linux-${arch}-${isMusl() ? 'musl' : 'gnu'}`
  if (platform === 'win32') return `win32-${arch}-msvc`
  return `${platform}-${arch}`
}

module.exports = { platformName }
