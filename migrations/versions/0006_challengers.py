"""Create the table of challengers, the lineages that learn beside the champion."""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('challengers',
    sa.Column('lineage', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('model', sa.String(length=64), nullable=False),
    sa.Column('stage', sa.String(length=16), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('live', sa.JSON(), nullable=True),
    sa.Column('behind', sa.BigInteger(), nullable=True),
    sa.Column('behind_since', sa.DateTime(timezone=True), nullable=True),
    sa.Column('failures', sa.Integer(), nullable=False),
    sa.Column('evidence', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['lineage'], ['lineages.id'], name=op.f('fk_challengers_lineage_lineages'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['model'], ['models.name'], name=op.f('fk_challengers_model_models'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('lineage', name=op.f('pk_challengers'))
    )
    with op.batch_alter_table('challengers', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_challengers_model'), ['model'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('challengers', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_challengers_model'))

    op.drop_table('challengers')
