"""Token shards as a trainer reads them: `inputs` checks them, `batches` orders them, `loader` reads ahead."""
