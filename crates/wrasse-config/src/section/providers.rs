//! Model providers that need no configuration: their addresses and the variables that usually hold their keys.

/// What a built-in provider speaks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dialect {
    /// OpenAI-compatible completions at this address.
    Completions {
        /// With `/v1`.
        base_url: &'static str,
    },
    /// Something that is not implemented.
    Other(&'static str),
}

/// One built-in provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct BuiltIn {
    pub(super) id: &'static str,
    pub(super) api: Dialect,
    /// First set wins.
    pub(super) variables: &'static [&'static str],
}

const fn speaks(
    id: &'static str,
    base_url: &'static str,
    variables: &'static [&'static str],
) -> BuiltIn {
    BuiltIn { id, api: Dialect::Completions { base_url }, variables }
}

const fn other(id: &'static str, api: &'static str, variables: &'static [&'static str]) -> BuiltIn {
    BuiltIn { id, api: Dialect::Other(api), variables }
}

/// Every built-in provider.
pub(super) const BUILT_IN: &[BuiltIn] = &[
    speaks("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"]),
    speaks("openrouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"]),
    speaks("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"]),
    speaks("deepseek", "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"]),
    speaks("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"]),
    speaks("together", "https://api.together.xyz/v1", &["TOGETHER_API_KEY"]),
    speaks("xai", "https://api.x.ai/v1", &["XAI_API_KEY"]),
    speaks("cerebras", "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"]),
    speaks("fireworks", "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY"]),
    speaks("moonshot", "https://api.moonshot.ai/v1", &["MOONSHOT_API_KEY"]),
    speaks("nvidia", "https://integrate.api.nvidia.com/v1", &["NVIDIA_API_KEY"]),
    speaks("ollama", "http://127.0.0.1:11434/v1", &["OLLAMA_API_KEY"]),
    speaks("lmstudio", "http://127.0.0.1:1234/v1", &["LMSTUDIO_API_KEY", "LM_API_TOKEN"]),
    speaks("vllm", "http://127.0.0.1:8000/v1", &["VLLM_API_KEY"]),
    other("anthropic", "anthropic-messages", &["ANTHROPIC_API_KEY"]),
    other("google", "google-generative-ai", &["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
    other("openai-codex", "openai-codex-responses", &[]),
    other("amazon-bedrock", "bedrock-converse-stream", &[]),
    other("github-copilot", "github-copilot", &["COPILOT_GITHUB_TOKEN"]),
    other("minimax", "anthropic-messages", &["MINIMAX_API_KEY"]),
];
