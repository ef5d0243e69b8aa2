// Raw float32 at $sample_rate Hz from stdin to stdout, $latency samples late: ./example < noisy.f32 > enhanced.f32
// g++ -std=c++17 -O2 example.cpp -I$$ORT/include -L$$ORT/lib -lonnxruntime -o example
#include <onnxruntime_cxx_api.h>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

int main() {
  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "rased");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, ORT_TSTR("model.onnx"), options);
  Ort::AllocatorWithDefaultOptions memory;
  std::vector<std::string> ins, outs;
  for (size_t i = 0; i < session.GetInputCount(); ++i) {  // outputs are in the order of the inputs
    ins.push_back(session.GetInputNameAllocated(i, memory).get());
    outs.push_back(i ? ins[i] + ".next" : "estimate");
  }
  std::vector<const char *> in, out;
  std::vector<Ort::Value> values;
  // What the state starts with, in the order of the inputs after "chunk": one value for all, or all of them.
  const std::vector<std::vector<float>> starts = {{0.0f}, $starts};
  for (size_t i = 0; i < ins.size(); ++i) {
    in.push_back(ins[i].c_str());
    out.push_back(outs[i].c_str());
    auto shape = session.GetInputTypeInfo(i).GetTensorTypeAndShapeInfo().GetShape();
    values.push_back(Ort::Value::CreateTensor<float>(memory, shape.data(), shape.size()));
    size_t count = values[i].GetTensorTypeAndShapeInfo().GetElementCount();
    for (size_t j = 0; j < count; ++j) values[i].GetTensorMutableData<float>()[j] = starts[i][j % starts[i].size()];
  }
  while (std::fread(values[0].GetTensorMutableData<float>(), 4, $chunk_length, stdin) == $chunk_length) {
    auto after = session.Run(Ort::RunOptions{}, in.data(), values.data(), in.size(), out.data(), out.size());
    std::fwrite(after[0].GetTensorData<float>(), 4, $chunk_length, stdout);
    for (size_t i = 1; i < after.size(); ++i) values[i] = std::move(after[i]);
  }
}
