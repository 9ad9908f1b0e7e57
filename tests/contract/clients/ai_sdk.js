// Makes videos with npm's `ai` and `@ai-sdk/alibaba`: one order a line in, as JSON, and one answer a line out.
import { writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';

globalThis.AI_SDK_LOG_WARNINGS = false; // they would be written between the answers

async function make({ major, base_url: videoBaseURL, api_key: apiKey, model, target, call }) {
  const { experimental_generateVideo: generateVideo } = await import({ 1: 'ai-6', 2: 'ai-7' }[major]);
  const { createAlibaba } = await import(`alibaba-${major}`);
  const { video, warnings, providerMetadata } = await generateVideo({
    model: createAlibaba({ videoBaseURL, apiKey }).video(model),
    download,
    ...call,
  });
  await writeFile(target, video.uint8Array);
  return { warnings, ...providerMetadata.alibaba };
}

// Their own download refuses every loopback address, with no way to allow one.
async function download({ url }) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return { data: new Uint8Array(await answer.arrayBuffer()), mediaType: answer.headers.get('content-type') };
}

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await make(JSON.parse(line)).catch(error => ({ error: String(error) }));
  console.log(JSON.stringify(answer));
}
