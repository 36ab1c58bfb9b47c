"""Create tables of pending labels, predictions to send (outbox), exclusions and archives."""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('archives',
    sa.Column('topic', sa.String(length=249), nullable=False),
    sa.Column('partition', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('first', sa.BigInteger(), nullable=False),
    sa.Column('next', sa.BigInteger(), nullable=False),
    sa.Column('records', sa.BigInteger(), nullable=False),
    sa.Column('bytes', sa.BigInteger(), nullable=False),
    sa.Column('holder', sa.String(length=256), nullable=False),
    sa.Column('epoch', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('topic', 'partition', name=op.f('pk_archives'))
    )
    op.create_table('pending',
    sa.Column('pool', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('key', sa.LargeBinary(length=140), nullable=False),
    sa.Column('kind', sa.SmallInteger(), nullable=False),
    sa.Column('lineage', sa.BigInteger(), nullable=False),
    sa.Column('created', sa.BigInteger(), nullable=False),
    sa.Column('resolved', sa.BigInteger(), nullable=True),
    sa.Column('ts', sa.BigInteger(), nullable=False),
    sa.Column('payload', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('pool', 'key', name=op.f('pk_pending'))
    )
    with op.batch_alter_table('pending', schema=None) as batch_op:
        batch_op.create_index('ix_pending_pool_resolved', ['pool', 'resolved'], unique=False, sqlite_where=sa.text('resolved IS NOT NULL'), postgresql_where=sa.text('resolved IS NOT NULL'))
        batch_op.create_index('ix_pending_pool_ts', ['pool', 'ts'], unique=False)

    op.create_table('exclusions',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('model', sa.String(length=64), nullable=False),
    sa.Column('topic', sa.String(length=249), nullable=True),
    sa.Column('partition', sa.Integer(), nullable=True),
    sa.Column('first', sa.BigInteger(), nullable=True),
    sa.Column('last', sa.BigInteger(), nullable=True),
    sa.Column('since', sa.DateTime(timezone=True), nullable=True),
    sa.Column('until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('created_by', sa.String(length=128), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('removed_by', sa.String(length=128), nullable=True),
    sa.Column('removed_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['model'], ['models.name'], name=op.f('fk_exclusions_model_models'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_exclusions'))
    )
    with op.batch_alter_table('exclusions', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_exclusions_model'), ['model'], unique=False)

    op.create_table('outbox',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('lineage', sa.BigInteger(), nullable=False),
    sa.Column('sequence', sa.BigInteger(), nullable=False),
    sa.Column('topic', sa.String(length=249), nullable=False),
    sa.Column('payload', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['lineage'], ['lineages.id'], name=op.f('fk_outbox_lineage_lineages'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_outbox'))
    )
    with op.batch_alter_table('outbox', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_outbox_lineage'), ['lineage'], unique=False)

    with op.batch_alter_table('versions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('waiting', sa.String(length=64), nullable=True))

    with op.batch_alter_table('lineages', schema=None) as batch_op:
        batch_op.add_column(sa.Column('pool', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('plan', sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('versions', schema=None) as batch_op:
        batch_op.drop_column('waiting')

    with op.batch_alter_table('lineages', schema=None) as batch_op:
        batch_op.drop_column('plan')
        batch_op.drop_column('pool')

    with op.batch_alter_table('outbox', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_outbox_lineage'))

    op.drop_table('outbox')
    with op.batch_alter_table('exclusions', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_exclusions_model'))

    op.drop_table('exclusions')
    with op.batch_alter_table('pending', schema=None) as batch_op:
        batch_op.drop_index('ix_pending_pool_ts')
        batch_op.drop_index('ix_pending_pool_resolved', sqlite_where=sa.text('resolved IS NOT NULL'), postgresql_where=sa.text('resolved IS NOT NULL'))

    op.drop_table('pending')
    op.drop_table('archives')
