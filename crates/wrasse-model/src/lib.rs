//! Language models behind one trait: OpenAI-compatible and scripted.
