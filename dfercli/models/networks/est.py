"""EST and T-ESFL: a transformer over snippets of a clip, which also learns to tell their order.

frames of S snippets                      (B, S * 5, 3, H, W)
│ ResNet18
frame embeddings                          (B, S, 5, F)
│ attention within a snippet, mean weighted by the similarity with its strongest responses
snippet embeddings                        (B, S, F)
│ transformer with an encoder and a decoder of one query
video embedding                           (B, F)

Source: Liu et al., 2022, Expression snippet transformer, and its code for the sizes; Liu et al.,
2022, MAFW, for T-ESFL, whose Table 1 row is built as EST (our choice, no code is public). Our
choices: where dropout is applied, the orders, and that positions are stored and both halves of the
transformer end with a norm, which gives the published number of parameters.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.errors import ConfigError
from dfercli.models.base import AuxiliaryLoss, Outputs
from dfercli.models.networks.base import FrameNetwork, VideoNetwork, Weights, scale_width
from dfercli.models.networks.resnet import ResNet

SNIPPET = 5
"""Consecutive frames of a clip that make up a snippet."""

HEADS, DEPTH, MLP = 4, 3, 2048
"""Attention heads, layers of the encoder and of the decoder, hidden width of their MLPs."""

DROPOUT, HEAD_DROPOUT = 0.1, 0.4

HEAD_WIDTHS = (128, 64)
ORDER_WIDTHS = (2048, 512)
"""Hidden widths of the classifier, and of the network that tells the order."""

NUM_ORDERS = 10

LEAST_SIMILARITY = 1e-8
"""Weights of frames are at least this."""


class Attention(nn.Module):
    """Multi-head attention of queries to tokens.

    Args:
        features: F, width of queries, tokens and results.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query = nn.Linear(features, features)
        self.key_value = nn.Linear(features, 2 * features)
        self.output = nn.Linear(features, features)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Map queries (N, Q, F) and tokens (N, P, F) to (N, Q, F)."""
        parts = (self.query(queries), *self.key_value(tokens).chunk(2, dim=-1))
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)
        dropout = DROPOUT if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class AttentionToItself(nn.Module):
    """What attention of a single token to itself amounts to: its weight is 1.

    Queries and keys have no effect. Their weights are part of the published network and of its
    number of parameters, so they are stored, but neither computed with nor trained.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query_key = nn.Linear(features, 2 * features).requires_grad_(False)
        self.value = nn.Linear(features, features)
        self.output = nn.Linear(features, features)

    def forward(self, token: Tensor) -> Tensor:
        """Map (N, 1, F) to (N, 1, F)."""
        output: Tensor = self.output(self.value(token))
        return output


class Residual(nn.Module):
    """Adds the output of a part to its input, with dropout, and normalises the sum."""

    def __init__(self, features: int, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.dropout = nn.Dropout(DROPOUT)
        self.norm = nn.LayerNorm(features)

    def forward(self, tokens: Tensor, *others: Tensor) -> Tensor:
        """Map (N, P, F), and what else the part reads, to (N, P, F)."""
        output: Tensor = self.norm(tokens + self.dropout(self.part(tokens, *others)))
        return output


def make_mlp(features: int, width: int) -> Residual:
    """Return the MLP of a transformer layer, with its residual connection."""
    hidden = (nn.Linear(features, width), nn.ReLU(), nn.Dropout(DROPOUT))
    return Residual(features, nn.Sequential(*hidden, nn.Linear(width, features)))


class EncoderLayer(nn.Module):
    """Attention among tokens, then an MLP."""

    def __init__(self, features: int, mlp_width: int) -> None:
        super().__init__()
        self.attention = Residual(features, Attention(features))
        self.mlp = make_mlp(features, mlp_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, P, F) to (N, P, F)."""
        encoded: Tensor = self.mlp(self.attention(tokens, tokens))
        return encoded


class DecoderLayer(nn.Module):
    """Attention of one query to itself and to the encoded tokens, then an MLP."""

    def __init__(self, features: int, mlp_width: int) -> None:
        super().__init__()
        self.to_itself = Residual(features, AttentionToItself(features))
        self.to_tokens = Residual(features, Attention(features))
        self.mlp = make_mlp(features, mlp_width)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Map a query (N, 1, F) and tokens (N, P, F) to (N, 1, F)."""
        decoded: Tensor = self.mlp(self.to_tokens(self.to_itself(query), tokens))
        return decoded


class SnippetTransformer(nn.Module):
    """Embeds each snippet of a clip, then the clip.

    Args:
        features: F, width of frame, snippet and video embeddings.
        num_snippets: S.
        mlp_width: Hidden width of the MLPs.
    """

    def __init__(self, features: int, num_snippets: int, mlp_width: int) -> None:
        super().__init__()
        self.features = features
        self.num_snippets = num_snippets
        self.within = Residual(features, Attention(features))
        # Not trained, but counted in the published number of parameters.
        self.positions = nn.Parameter(make_positions(num_snippets, features), requires_grad=False)
        self.encoder = nn.Sequential(
            *(EncoderLayer(features, mlp_width) for _ in range(DEPTH)), nn.LayerNorm(features)
        )
        self.query = nn.Parameter(torch.randn(features))
        self.decoder = nn.ModuleList(DecoderLayer(features, mlp_width) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(features)

    def embed_snippets(self, frames: Tensor) -> Tensor:
        """Map frame embeddings (B, T, F) to snippet embeddings (B, S, F)."""
        frames = frames.unflatten(1, (self.num_snippets, SNIPPET)).flatten(0, 1)
        return weigh_frames(self.within(frames, frames)).unflatten(0, (-1, self.num_snippets))

    def embed_video(self, snippets: Tensor) -> Tensor:
        """Map snippet embeddings (B, S, F) to video embeddings (B, F)."""
        tokens = self.encoder(snippets + self.positions)
        query = self.query.repeat(len(snippets), 1, 1)
        for layer in self.decoder:
            query = layer(query, tokens)
        videos: Tensor = self.norm(query).squeeze(1)
        return videos

    def forward(self, frames: Tensor) -> Tensor:
        """Map frame embeddings (B, T, F) to video embeddings (B, F)."""
        return self.embed_video(self.embed_snippets(frames))


def weigh_frames(frames: Tensor) -> Tensor:
    """Return the weighted mean (N, F) of frames (N, 5, F).

    The weight of a frame is its cosine similarity with the maximum over frames in each channel.
    """
    strongest = frames.amax(dim=1, keepdim=True)
    weights = F.cosine_similarity(frames, strongest, dim=-1).clamp(min=LEAST_SIMILARITY)
    return (weights.unsqueeze(-1) * frames).sum(dim=1) / weights.sum(dim=1, keepdim=True)


def make_positions(num_positions: int, features: int) -> Tensor:
    """Return the sines and cosines (P, F) of positions. Source: Vaswani et al., 2017."""
    rates = 10000 ** (-torch.arange(0, features, 2) / features)
    angles = torch.arange(num_positions).unsqueeze(1) * rates  # (P, F / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def list_orders(num_snippets: int) -> list[tuple[int, ...]]:
    """Return up to ten orders of snippets: rotations, and rotations of the reverse.

    Two of them agree in at most one place if the number of snippets is odd, in at most two if it
    is even, so no ten orders of seven snippets are further apart. Fewer than five snippets have
    fewer orders.
    """
    places = range(num_snippets)
    orders = [
        tuple((step * place + start) % num_snippets for place in places)
        for step in (1, -1)
        for start in places
    ]
    return list(dict.fromkeys(orders))[:NUM_ORDERS]


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that uses the running statistics for a batch of one, in training too."""

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, F) to (B, F)."""
        if len(rows) > 1:
            return super().forward(rows)
        return F.batch_norm(
            rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class EST(VideoNetwork):
    """Classifies clips, and in training also predicts in which order the snippets were put.

    The order is predicted from shuffled snippet embeddings, each with the video embedding added.
    The transformer reads them in the right order: in the published network positions are shuffled
    with the snippets, which does not change its result.
    """

    orders: Tensor
    class_parameters = ("head.6.weight", "head.6.bias")

    def __init__(self, backbone: FrameNetwork, config: ModelConfig, class_names: Sequence[str]):
        features = backbone.features
        first, second = (scale_width(width, config.width) for width in HEAD_WIDTHS)
        head = nn.Sequential(
            nn.Linear(features, first),
            nn.ReLU(),
            nn.Dropout(HEAD_DROPOUT),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(HEAD_DROPOUT),
            nn.Linear(second, len(class_names)),
        )
        super().__init__(backbone, config, class_names, head)
        num_snippets = self.backbone.temporal.num_snippets
        self.register_buffer("orders", torch.tensor(list_orders(num_snippets)))
        first, second = (scale_width(width, config.width) for width in ORDER_WIDTHS)
        self.order_head = nn.Sequential(
            nn.Linear(num_snippets * features, first),
            BatchNorm(first),
            nn.ReLU(),
            nn.Linear(first, second),
            BatchNorm(second),
            nn.ReLU(),
            nn.Linear(second, len(self.orders)),
        )

    def run(self, clips: Tensor) -> Outputs:
        """Return the logits, and of each clip a random order and its prediction."""
        trunk, temporal = self.backbone.trunk, self.backbone.temporal
        frames = trunk(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        snippets = temporal.embed_snippets(frames)
        videos = temporal.embed_video(snippets)
        drawn = torch.randint(len(self.orders), (len(clips),), device=clips.device)
        places = self.orders[drawn].unsqueeze(-1)  # (B, S, 1)
        shuffled = snippets.detach().take_along_dim(places, dim=1)
        order_logits = self.order_head((shuffled + videos.unsqueeze(1)).flatten(1))
        extras = {"videos": videos, "order_logits": order_logits, "orders": drawn}
        return Outputs(self.classify(videos), extras)

    def auxiliary_losses(self) -> list[tuple[AuxiliaryLoss, float]]:
        """Return the loss of the order, with the weight 1 / S."""
        return [(order_loss, 1 / self.backbone.temporal.num_snippets)]


def order_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of the order; the labels have no effect."""
    extras = outputs.extras
    return F.cross_entropy(extras["order_logits"], extras["orders"], reduction="none")


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> EST:
    """Build the model; `towers` are weights of ResNet18 with torchvision's names, or None.

    Raises:
        ConfigError: The clips do not consist of whole snippets.
    """
    if config.num_frames % SNIPPET:
        raise ConfigError(
            f"num_frames is {config.num_frames}; for --model {config.method} it must be a multiple "
            f"of {SNIPPET}, the frames of a snippet"
        )
    trunk = ResNet(width=config.width)
    if towers is not None:
        trunk.load_state_dict(towers)
    mlp_width = scale_width(MLP, config.width)
    num_snippets = config.num_frames // SNIPPET
    temporal = SnippetTransformer(trunk.features, num_snippets, mlp_width)
    return EST(FrameNetwork(trunk, temporal), config, class_names)
