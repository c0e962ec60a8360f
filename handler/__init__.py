"""Audience forwarder: mParticle audience changes, from SQS to Customer.io."""
