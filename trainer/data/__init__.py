"""Token shards for the trainer: `inputs` checks them, `batches` orders them, `loader` reads ahead."""
